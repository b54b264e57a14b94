"""The rows of the audit store: the fields of the audit log, and the parts of them that filters need."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from egress.model.log_numbers import milliseconds, written_time
from egress.model.phases import durations
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url
from egress.store.columns import COLUMNS, GRPC, INSERTED, SELECTED

_URL: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(\[[^\]/]*\]|[^:/?#]*)(?::[0-9]*)?([^?#]*)", re.IGNORECASE | re.DOTALL
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND: Final = timedelta(milliseconds=1)

# The keys whose values are stored as JSON.
_JSON: Final = ("phases", "requestHeaders", "responseHeaders")
_CALL: Final = len(GRPC)

__all__ = ["INSERTED", "SELECTED", "document_of", "host_and_path", "row_of"]

_encode = json.JSONEncoder(separators=(",", ":")).encode


def host_and_path(url: str) -> tuple[str, str]:
    """Return the host of a URL, in lower case, and its path; the host and an empty path for a tunnel."""
    match = _URL.match(url)
    assert match is not None  # every part of it may be empty
    return match[1].strip("[]").lower().rstrip("."), match[2]


def _phases(record: ExchangeRecord) -> str:
    """Return the phases of an audit line as JSON, in half the time of an encoder: the names need no quoting."""
    found = [f'["{name}",{milliseconds(each)}]' for name, each in durations(record.phases, record.duration)]
    return f"[{','.join(found)}]"


def row_of(record: ExchangeRecord) -> tuple[Any, ...]:
    """Return the values of the columns L{INSERTED}, with a redacted URL."""
    client, url, seconds = record.client, redact_url(record.url), record.decision_seconds
    address, call = client.address, record.grpc
    host, path = host_and_path(url)
    # The fields of an audit line (audit_fields), without its dictionary: this runs for each request.
    row = (
        # Rounded as the time of an audit line: a product of floats would sometimes be the next millisecond.
        (datetime.fromtimestamp(record.time, timezone.utc) - _EPOCH) // _MILLISECOND,
        address,
        host,
        path,
        record.request_id,
        f"[{address}]:{client.port}" if ":" in address else f"{address}:{client.port}",
        client.identity,
        record.stage,
        record.method,
        url,
        record.verdict,
        record.outcome,
        record.reason,
        record.observed,
        record.decided_by,
        record.rule_id,
        record.source,
        None if seconds is None else milliseconds(seconds),
        record.address,
        record.upstream,
        record.status,
        record.bytes_sent,
        record.bytes_received,
        milliseconds(record.duration),
        _phases(record),
        None if record.request_headers is None else _encode(record.request_headers),
        None if record.response_headers is None else _encode(record.response_headers),
        record.client_http,
        record.origin_http,
        record.policy_version,
        None if call is None else call.service,
        None if call is None else call.method,
        None if call is None else call.status,
    )
    if (
        f"{record.request_id}{client.identity}{record.method}{url}{record.outcome}{record.reason}{record.decided_by}"
        f"{record.rule_id}{record.upstream}{record.policy_version}"
    ).isascii():
        return row
    # Lone surrogates cannot be stored.
    return tuple(
        value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value for value in row
    )


def document_of(row: Sequence[Any]) -> Mapping[str, Any]:
    """Return the fields of an audit line from the values of the columns L{SELECTED}."""
    document = {"time": written_time(row[0] / 1000), **dict(zip(COLUMNS, row[1:-_CALL], strict=True))}
    for key in _JSON:
        document[key] = None if document[key] is None else json.loads(document[key])
    service, method, status = row[-_CALL:]
    if service is not None:
        document["grpc"] = {"service": service, "method": method, "status": status}
    return document
