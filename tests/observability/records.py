"""Audit records for the tests of sinks."""

from __future__ import annotations

from typing import Any

import attrs

from egress.model.decision import ClientIdentity
from egress.model.record import ExchangeRecord

ALLOWED = ExchangeRecord(
    time=1_700_000_000.25,
    request_id="abc123",
    client=ClientIdentity("127.0.0.1", 52314, "runner-7"),
    stage="request",
    method="POST",
    url="https://api.example.com/v1/items?page=2&token=hunter2",
    verdict="allow",
    outcome="forwarded",
    reason="writes to the items are allowed",
    decided_by="authz.example",
    rule_id="items-write",
    decision_seconds=0.0123456,
    status=201,
    bytes_sent=12,
    bytes_received=345,
    duration=0.1,
    address="192.0.2.9",
    upstream=None,
    observed=None,
    source=None,
    phases=(("request", 7.0), ("decision", 7.001), ("reused", 7.0135), ("wait", 7.0135), ("receive", 7.09)),
    request_headers=None,
    response_headers=None,
    trace=None,
    grpc=None,
    client_http="2",
    origin_http="1.1",
    policy_version="7-3f9a0c1b2d4e",
)

ALLOWED_FIELDS: dict[str, Any] = {
    "client": "127.0.0.1:52314",
    "identity": "runner-7",
    "stage": "request",
    "method": "POST",
    "url": "https://api.example.com/v1/items?page=2&token=REDACTED",
    "verdict": "allow",
    "outcome": "forwarded",
    "reason": "writes to the items are allowed",
    "observed": None,
    "decidedBy": "authz.example",
    "ruleId": "items-write",
    "source": None,
    "decisionMs": 12.346,
    "address": "192.0.2.9",
    "upstream": None,
    "status": 201,
    "bytesSent": 12,
    "bytesReceived": 345,
    "durationMs": 100.0,
    "phases": [["request", 1.0], ["decision", 12.5], ["reused", 0.0], ["wait", 76.5], ["receive", 10.0]],
    "requestHeaders": None,
    "responseHeaders": None,
    "clientHttp": "2",
    "originHttp": "1.1",
    "policyVersion": "7-3f9a0c1b2d4e",
}
"""The fields of its audit line, without its time and its id."""

REFUSED = attrs.evolve(
    ALLOWED,
    client=ClientIdentity("2001:db8::7", 40000),
    url="",
    method="",
    verdict="rejected",
    outcome="bad-request",
    reason="two Host fields",
    decided_by="proxy",
    rule_id=None,
    decision_seconds=None,
    status=None,
    address=None,
    phases=(),
    client_http=None,
    origin_http=None,
    policy_version=None,
)
