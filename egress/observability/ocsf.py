"""Audit records as events of the Open Cybersecurity Schema Framework (OCSF), for security information systems.

An event is an HTTP Activity (class 4002) of OCSF 1.5.0, with the profiles C{security_control} and C{network_proxy}.  A
change by an administrator is an API Activity (class 6003).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from egress.model.change import STAGE, ChangeKind

VERSION: Final = "1.5.0"

_CLASS: Final = 4002
_ACTIVITIES: Final = {
    "": 0,
    "CONNECT": 1,
    "DELETE": 2,
    "GET": 3,
    "HEAD": 4,
    "OPTIONS": 5,
    "POST": 6,
    "PUT": 7,
    "TRACE": 8,
}
_OTHER: Final = 99

# The action, the disposition and the severity of each verdict.
_EFFECTS: Final = {
    "allow": (1, 1, 1),
    "deny": (2, 2, 3),
    "unavailable": (2, 27, 4),
    "rejected": (2, 25, 2),
    "failed": (2, 27, 2),
}
_OBSERVED: Final = (3, 17, 3)
# An allowed request that ended with an error.
_INTERRUPTED: Final = (1, 27, 2)
# A response of egressauthz, which decides and forwards nothing.
_DECIDED: Final = (0, 17, 1)

_API_CLASS: Final = 6003
# The activity: create, update or delete.
_CHANGES: Final = {
    ChangeKind.POLICY_RELOADED: 3,
    ChangeKind.RELOAD_FAILED: 3,
    ChangeKind.RULE_ADDED: 1,
    ChangeKind.APPROVAL_ALLOWED: 3,
    ChangeKind.APPROVAL_DENIED: 3,
    ChangeKind.GRANT_ADDED: 1,
    ChangeKind.GRANT_REVOKED: 4,
    ChangeKind.DECISIONS_REVOKED: 4,
}

# The keys of a record that have no attribute in this class.
UNMAPPED: Final = ("stage", "verdict", "observed", "source", "decisionMs", "phases")


def ocsf_event(record: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Convert an audit record.

    @param record: the record, with the keys of the audit log.
    @param version: the version of this program.
    @return: JSON.  Attributes without a value are left out.
    """
    if record["stage"] == STAGE:
        return _change_event(record, version)
    method, url = record["method"], record["url"]
    activity = _ACTIVITIES.get(method, _OTHER)
    action, disposition, severity = _effects_of(record)
    parts = _url_parts(url)
    request = {
        "uid": record["requestId"],
        "http_method": method if activity != _OTHER else None,
        "url": {"url_string": url, **parts} if url else None,
        "http_headers": _headers(record["requestHeaders"]),
        "version": record.get("clientHttp"),
    }
    event = {
        "metadata": {**_metadata(record, version), "profiles": ["security_control", "network_proxy"]},
        "category_uid": 4,
        "class_uid": _CLASS,
        "activity_id": activity,
        "type_uid": _CLASS * 100 + activity,
        "severity_id": severity,
        "time": _milliseconds(record["time"]),
        "duration": int(record["durationMs"] + 0.5),
        "message": record["reason"],
        "status_id": 1 if record["outcome"] in ("forwarded", "decided") else 2,
        "status_code": record["outcome"],
        "status_detail": record["reason"],
        "action_id": action,
        "disposition_id": disposition,
        "policy": {"name": record["decidedBy"], "version": record.get("policyVersion")},
        "firewall_rule": {"uid": record["ruleId"]},
        "src_endpoint": {**_endpoint(record["client"]), "owner": {"name": record["identity"]}},
        "dst_endpoint": {"hostname": parts.get("hostname"), "port": parts.get("port"), "ip": record["address"]},
        "proxy_endpoint": {} if record["upstream"] is None else _endpoint(record["upstream"]),
        "http_request": request,
        "http_response": {"code": record["status"], "http_headers": _headers(record["responseHeaders"])},
        "traffic": {
            "bytes_out": record["bytesSent"],
            "bytes_in": record["bytesReceived"],
            "bytes": record["bytesSent"] + record["bytesReceived"],
        },
        "unmapped": {
            **{key: record[key] for key in UNMAPPED},
            # The schema has a fixed list of methods.
            "method": method if activity == _OTHER else None,
            "originHttp": record.get("originHttp"),
            "grpc": record.get("grpc"),
            "node": record.get("node"),
            "worker": record.get("worker"),
        },
    }
    if record["status"] is None:
        del event["http_response"]
    found: dict[str, Any] = _present(event)
    return found


def _change_event(record: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Convert the record of a change by an administrator."""
    kind = ChangeKind(record["outcome"])
    activity = _CHANGES[kind]
    found: dict[str, Any] = _present(
        {
            "metadata": _metadata(record, version),
            "category_uid": 6,
            "class_uid": _API_CLASS,
            "activity_id": activity,
            "type_uid": _API_CLASS * 100 + activity,
            "severity_id": 1,
            "time": _milliseconds(record["time"]),
            "message": record["reason"],
            "status_id": 2 if kind is ChangeKind.RELOAD_FAILED else 1,
            "status_code": kind.value,
            "actor": {"user": {"name": record["identity"]}},
            "api": {"operation": kind.value, "service": {"name": f"egressproxy {record['decidedBy']}"}},
            "src_endpoint": _endpoint(record["client"]),
        }
    )
    return found


def _metadata(record: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "product": {"name": "egressproxy", "vendor_name": "egressproxy", "version": version},
        "uid": record["requestId"],
        "original_time": record["time"],
        "log_name": "audit",
    }


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)


def _effects_of(record: Mapping[str, Any]) -> tuple[int, int, int]:
    if record["observed"] is not None:
        return _OBSERVED
    if record["verdict"] == "allow" and record["outcome"] not in ("forwarded", "decided"):
        return _INTERRUPTED
    return _EFFECTS.get(record["verdict"], _DECIDED)


def _present(value: Any) -> Any:
    """Leave out members without a value."""
    if not isinstance(value, dict):
        return value
    found = {key: _present(one) for key, one in value.items()}
    return {key: one for key, one in found.items() if one not in (None, "", {})}


def _url_parts(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        # The URL of a request that was rejected can be any text.
        return {}
    return {
        "scheme": parts.scheme,
        "hostname": parts.hostname,
        "port": port,
        "path": parts.path,
        "query_string": parts.query,
    }


def _endpoint(text: str) -> dict[str, Any]:
    """Return the endpoint of a host and a port."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdecimal() else None
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        # An upstream proxy, or a client on a UNIX socket.
        return {"name": host or text, "port": number}
    return {"ip": host.partition("%")[0], "port": number}


def _headers(fields: Iterable[Iterable[str]] | None) -> list[dict[str, str]] | None:
    return None if fields is None else [{"name": name, "value": value} for name, value in fields]
