"""Audit log lines for tests."""

from __future__ import annotations

import json
from typing import Any

from egress.policy.learn.audit_reader import AuditLine, Notes, read_lines


def audit_line(method: str, url: str, **more: Any) -> bytes:
    """Return one line in the format of the audit log."""
    entry = {
        "time": "2026-11-25T12:00:00.000Z",
        "requestId": "r1",
        "client": "127.0.0.1:52314",
        "identity": None,
        "stage": "tunnel" if method == "CONNECT" else "request",
        "method": method,
        "url": url,
        "verdict": "allow",
        "outcome": "forwarded",
        "reason": "it is allowed",
        "observed": None,
        "ruleId": "r",
        "bytesSent": 0,
        **more,
    }
    return json.dumps(entry).encode("ascii") + b"\n"


def read(*lines: bytes) -> list[AuditLine]:
    """Parse lines, all of which must be valid."""
    notes = Notes()
    found = list(read_lines(lines, notes))
    assert notes.bad == 0, notes
    return found
