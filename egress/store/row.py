"""The rows of the audit store: the fields of the audit log, and the parts of them that filters need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from egress.model.record import ExchangeRecord
from egress.observability.audit_log import audit_fields, written_time

_URL: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(\[[^\]/]*\]|[^:/?#]*)(?::[0-9]*)?([^?#]*)", re.IGNORECASE | re.DOTALL
)

# The keys of an audit line, and their columns.
_COLUMNS: Final = {
    "requestId": "request_id",
    "client": "client",
    "identity": "identity",
    "stage": "stage",
    "method": "method",
    "url": "url",
    "verdict": "verdict",
    "outcome": "outcome",
    "reason": "reason",
    "observed": "observed",
    "decidedBy": "decided_by",
    "ruleId": "rule_id",
    "source": "source",
    "decisionMs": "decision_ms",
    "address": "address",
    "upstream": "upstream",
    "status": "status",
    "bytesSent": "bytes_sent",
    "bytesReceived": "bytes_received",
    "durationMs": "duration_ms",
    "phases": "phases",
    "requestHeaders": "request_headers",
    "responseHeaders": "response_headers",
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND: Final = timedelta(milliseconds=1)

# The keys whose values are stored as JSON.
_JSON: Final = ("phases", "requestHeaders", "responseHeaders")

_encode = json.JSONEncoder(separators=(",", ":")).encode

SELECTED: Final = ("time_ms", *_COLUMNS.values())
"""The columns of a row that L{document_of} takes."""

INSERTED: Final = ("time_ms", "client_address", "host", "path", *_COLUMNS.values())
"""The columns of a row that L{row_of} returns."""


def host_and_path(url: str) -> tuple[str, str]:
    """Return the host of a URL, in lower case, and its path; the host and an empty path for a tunnel."""
    match = _URL.match(url)
    assert match is not None  # every part of it may be empty
    return match[1].strip("[]").lower().rstrip("."), match[2]


def row_of(record: ExchangeRecord) -> tuple[Any, ...]:
    """Return the values of the columns L{INSERTED}, with a redacted URL."""
    fields = audit_fields(record)
    host, path = host_and_path(fields["url"])
    for key in _JSON:
        fields[key] = None if fields[key] is None else _encode(fields[key])
    # Rounded as the time of an audit line: a product of floats would sometimes be the next millisecond.
    time_ms = (datetime.fromtimestamp(record.time, timezone.utc) - _EPOCH) // _MILLISECOND
    values = (time_ms, record.client.address, host, path, *(fields[key] for key in _COLUMNS))
    # Lone surrogates cannot be stored.
    return tuple(
        value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
        for value in values
    )


def document_of(row: Sequence[Any]) -> Mapping[str, Any]:
    """Return the fields of an audit line from the values of the columns L{SELECTED}."""
    document = {"time": written_time(row[0] / 1000), **dict(zip(_COLUMNS, row[1:], strict=True))}
    for key in _JSON:
        document[key] = None if document[key] is None else json.loads(document[key])
    return document
