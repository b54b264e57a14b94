"""The columns of the records in the audit store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLUMNS: Final[Mapping[str, str]] = {
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
    "clientHttp": "client_http",
    "originHttp": "origin_http",
    "policyVersion": "policy_version",
}
"""The keys of an audit line, and their columns."""

GRPC: Final = ("grpc_service", "grpc_method", "grpc_status")
"""The columns of a gRPC call, which an audit line has as one object."""

SELECTED: Final = ("time_ms", *COLUMNS.values(), *GRPC)
"""The columns of a row that L{egress.store.row.document_of} takes."""

# New columns are added at the end.  They are NULL in earlier records, and so do not change the signatures of these.
INSERTED: Final = ("time_ms", "client_address", "host", "path", *COLUMNS.values(), *GRPC)
"""The columns of a row that L{egress.store.row.row_of} returns."""
