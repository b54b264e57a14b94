"""The reader of audit logs: the requests and decisions on each line.

The reader is strict for each line and lenient for the file: it reports a line that cannot be parsed with its number,
and continues with the next one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import attrs

from egress.grpc.call import Call, call_of
from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.change import STAGE as ADMIN
from egress.model.decision import NEEDS, Stage, Verdict
from egress.model.errors import InvalidTarget
from egress.model.quote import printable

MAX_LINE: Final = 1024 * 1024
"""The maximum length of a line in bytes: the longest line that the proxy writes has a target of some KiB."""

GRPC_TYPE: Final = ((b"Content-Type", b"application/grpc"),)
"""The fields that make a recorded request a gRPC call: a record has no content type."""

_NOTED: Final = 10
_VERDICTS: Final = frozenset({*(verdict.value for verdict in Verdict), "unavailable", "rejected", "failed"})
# The outcomes of allowed requests whose name had no address: nothing was sent to their destination.
_UNRESOLVED: Final = frozenset({"name-not-resolved", "resolution-timeout", "too-many-lookups", "resolver-busy"})
# These lines have no decision, and possibly no destination.  If an authorization service needed the content or the
# addresses, a later line of its log has the decision.
_UNDECIDED: Final = frozenset({"rejected", "failed", *(verdict.value for verdict in NEEDS)})
_URL: Final = re.compile(r"(https?)://([^/?#]*)(/?[^#]*)")
# Destinations that the proxy rejects.
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\#\ud800-\udfff]")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")


@attrs.frozen
class AuditLine:
    """An audit record of one exchange for which an authorizer was queried.

    @ivar time: the time, as text in the log.
    @ivar stage: whether the record is of a request or a tunnel.
    @ivar method: C{"CONNECT"} for a tunnel.
    @ivar origin: the origin of the request.
    @ivar path: path and query, with redacted secrets; empty for a tunnel.
    @ivar verdict: C{"allow"}, C{"deny"}, C{"ask"} (in the log of a service) or C{"unavailable"}.
    @ivar outcome: the outcome: C{"forwarded"}, or the error code.
    @ivar observed: the original verdict, if observe mode allowed the request.
    @ivar reason: the reason of the decision or of the error.
    @ivar rule_id: the rule that decided, if the authorizer named one.
    @ivar identity: the name of the client, if it has one.
    @ivar client: the address of the client.
    @ivar sent: content bytes sent to the origin.
    @ivar is_grpc: whether the record contains a gRPC call.
    """

    time: str
    stage: Stage
    method: str
    origin: Origin
    path: str
    verdict: str
    outcome: str
    observed: str | None
    reason: str
    rule_id: str | None
    identity: str | None
    client: str
    sent: int
    is_grpc: bool = False

    @property
    def url(self) -> str:
        """The URL; host and port for a tunnel."""
        if self.stage is Stage.TUNNEL:
            return str(self.origin.authority)
        return f"{self.origin}{'' if self.path == '*' else self.path}"

    @property
    def call(self) -> Call | None:
        """The gRPC call; C{None} if the record contains none."""
        return call_of(self.method, self.path, GRPC_TYPE) if self.is_grpc else None

    @property
    def at(self) -> float | None:
        """The time in seconds since the epoch; C{None} if it cannot be parsed."""
        try:
            # Python 3.10 does not accept the suffix Z.
            moment = datetime.fromisoformat(self.time.replace("Z", "+00:00"))
            # Near the limits of the calendar, the conversion of time zones overflows.
            return moment.timestamp() if moment.tzinfo is not None and 1970 <= moment.year < 9999 else None
        except (ValueError, OverflowError):
            return None

    @property
    def left(self) -> bool:
        """Whether the request was allowed, by the decision or by observe mode, and its name was resolved.

        A destination that never existed is not one that the job needs: anyone can register the name later.
        """
        return self.verdict == "allow" and not self.unresolved

    @property
    def unresolved(self) -> bool:
        """Whether the request was allowed, but its name was not resolved."""
        return self.verdict == "allow" and self.outcome in _UNRESOLVED

    @property
    def decided(self) -> str:
        """The verdict of the decision, whether or not it was enforced."""
        return self.verdict if self.observed is None else self.observed


class LineFault(ValueError):
    """A line that is not a valid audit record; the message names the error."""


@attrs.define
class Notes:
    """Statistics about the lines of a file that have no decision.

    @ivar lines: the number of all lines.
    @ivar undecided: the number of lines without a decision.
    @ivar bad: the number of lines that could not be parsed.
    @ivar first_bad: the numbers of the first of these lines, each with its error.
    """

    lines: int = 0
    undecided: int = 0
    bad: int = 0
    first_bad: list[tuple[int, str]] = attrs.field(factory=list)

    def note(self, fault: LineFault) -> None:
        """Record a line that could not be parsed."""
        self.bad += 1
        if len(self.first_bad) < _NOTED:
            self.first_bad.append((self.lines, str(fault)))

    def describe(self) -> str:
        """Describe the lines that could not be parsed."""
        which = ", ".join(f"{number} ({why})" for number, why in self.first_bad)
        more = f" and {self.bad - len(self.first_bad)} more" if self.bad > len(self.first_bad) else ""
        return f"{self.bad} of {self.lines} lines could not be read: {which}{more}"


def read_lines(lines: Iterable[bytes], notes: Notes) -> Iterator[AuditLine]:
    """Parse an audit log line by line.

    @param lines: the lines of the log.
    @param notes: receives the statistics of the other lines.
    """
    for line in lines:
        notes.lines += 1
        if not line.strip():
            continue
        try:
            found = read_line(line)
        except LineFault as fault:
            notes.note(fault)
            continue
        if found is None:
            notes.undecided += 1
        else:
            yield found


def read_line(line: bytes) -> AuditLine | None:
    """Parse one line.

    @return: the record; C{None} if the line has no decision.
    @raise LineFault: if the line is not a valid audit record.
    """
    if len(line) > MAX_LINE:
        raise LineFault("too long")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise LineFault("not JSON") from None
    if not isinstance(entry, dict):
        raise LineFault("not an object")
    return read_entry(entry)


def read_entry(entry: Mapping[str, Any]) -> AuditLine | None:
    """Parse the fields of one line, as an audit store has them.

    @return: the record; C{None} if it has no decision.
    @raise LineFault: if a field is not valid.
    """
    if entry.get("stage") == ADMIN:
        return None
    verdict = _text(entry, "verdict")
    if verdict not in _VERDICTS:
        raise LineFault("unknown verdict")
    if verdict in _UNDECIDED:
        return None
    try:
        stage = Stage(_text(entry, "stage"))
    except ValueError:
        raise LineFault("unknown stage") from None
    if stage is Stage.MESSAGE:
        # The record of its exchange has the decision on the request.
        return None
    method = _text(entry, "method")
    if not _METHOD.fullmatch(method) or method == "*":
        raise LineFault("invalid method")
    origin, path = _destination(_text(entry, "url"))
    if stage is Stage.TUNNEL or method == "CONNECT":
        stage, method, path = Stage.TUNNEL, "CONNECT", ""
    elif not path:
        # Only the request-target * has no path (RFC 9112 section 3.2.4).
        path = "*" if method == "OPTIONS" else "/"
    return AuditLine(
        time=_optional(entry, "time") or "",
        stage=stage,
        method=method,
        origin=origin,
        path=path,
        verdict=verdict,
        outcome=_optional(entry, "outcome") or "",
        observed=_optional(entry, "observed"),
        reason=_optional(entry, "reason") or "",
        rule_id=_optional(entry, "ruleId"),
        identity=_optional(entry, "identity"),
        client=(_optional(entry, "client") or "").rpartition(":")[0].strip("[]"),
        sent=_number(entry, "bytesSent"),
        is_grpc=isinstance(entry.get("grpc"), dict),
    )


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise LineFault(f"missing {key}")
    return value


def _optional(entry: Mapping[str, Any], key: str) -> str | None:
    """Return a text without line breaks and terminal control characters; C{None} if the key has no text."""
    value = entry.get(key)
    if not isinstance(value, str):
        return None
    return printable(value)


def _number(entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _destination(url: str) -> tuple[Origin, str]:
    match = _URL.fullmatch(url)
    if match is None or _FORBIDDEN.search(url):
        raise LineFault("invalid url")
    scheme, netloc, path = match[1], match[2], match[3]
    try:
        authority = Authority.parse(netloc, DEFAULT_PORTS[scheme])
    except InvalidTarget:
        raise LineFault("invalid host in the url") from None
    # The proxy always writes the slash; other writers of audit logs might not.
    return Origin(scheme, authority), _plain(f"/{path}" if path.startswith("?") else path)


def _plain(path: str) -> str:
    """Percent-encode unprintable characters, such as line breaks; servers treat the result as equal."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() else quote(char) for char in path)
