"""Lines of an audit log, read back: what was asked, and what became of it.

Strict about each line, forgiving about the file: a line that cannot be read is noted with its number, and the next one
is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.decision import NEEDS, Stage, Verdict
from egress.model.errors import InvalidTarget

MAX_LINE: Final = 1024 * 1024
"""Bytes of a line that is worth reading: the longest that the proxy writes has a target of some KiB."""

_NOTED: Final = 10
_VERDICTS: Final = frozenset({*(verdict.value for verdict in Verdict), "unavailable", "refused", "failed"})
# Nobody was asked about these; they need not even be about a destination.  Where a service wanted the content or the
# addresses first, the next line of its log has what it decided.
_UNDECIDED: Final = frozenset({"refused", "failed", *(verdict.value for verdict in NEEDS)})
_URL: Final = re.compile(r"(https?)://([^/?#]*)(/?[^#]*)")
# What the proxy lets nobody ask for.
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\#\ud800-\udfff]")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")


@attrs.frozen
class AuditLine:
    """One exchange about which an authorizer was asked.

    @ivar time: when, as the log has it.
    @ivar method: C{"CONNECT"} for a tunnel.
    @ivar path: path and query, secrets in it replaced; empty for a tunnel.
    @ivar verdict: C{"allow"}, C{"deny"}, C{"ask"} (in the log of a service) or C{"unavailable"}.
    @ivar outcome: what became of it: C{"forwarded"}, or why it was not.
    @ivar observed: what the verdict would have been, where observe mode let it pass.
    @ivar identity: the name of the client, where it has one.
    @ivar client: its address.
    @ivar sent: content bytes that went to the origin.
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

    @property
    def url(self) -> str:
        """The URL, or host and port of a tunnel."""
        if self.stage is Stage.TUNNEL:
            return str(self.origin.authority)
        return f"{self.origin}{'' if self.path == '*' else self.path}"

    @property
    def at(self) -> float | None:
        """The time in seconds since the epoch; C{None} where it cannot be told."""
        try:
            # Python 3.10 does not know the Z.
            moment = datetime.fromisoformat(self.time.replace("Z", "+00:00"))
            # At the ends of the calendar other time zones have no date.
            return moment.timestamp() if moment.tzinfo is not None and 1970 <= moment.year < 9999 else None
        except (ValueError, OverflowError):
            return None

    @property
    def left(self) -> bool:
        """Whether it was let through, by the decision or by observe mode."""
        return self.verdict == "allow"

    @property
    def decided(self) -> str:
        """What was decided, whether or not it was enforced: a verdict."""
        return self.verdict if self.observed is None else self.observed


class LineFault(ValueError):
    """A line that is none of an audit log; the text says what is wrong with it."""


@attrs.define
class Notes:
    """What was met in a file besides lines that are about a decision.

    @ivar lines: how many lines there were.
    @ivar undecided: how many are about what nobody has decided on.
    @ivar bad: how many could not be read.
    @ivar first_bad: the numbers of the first few of them, each with what is wrong.
    """

    lines: int = 0
    undecided: int = 0
    bad: int = 0
    first_bad: list[tuple[int, str]] = attrs.field(factory=list)

    def note(self, fault: LineFault) -> None:
        """Take note of a line that could not be read."""
        self.bad += 1
        if len(self.first_bad) < _NOTED:
            self.first_bad.append((self.lines, str(fault)))

    def describe(self) -> str:
        """Say which lines could not be read."""
        which = ", ".join(f"{number} ({why})" for number, why in self.first_bad)
        more = f" and {self.bad - len(self.first_bad)} more" if self.bad > len(self.first_bad) else ""
        return f"{self.bad} of {self.lines} lines could not be read: {which}{more}"


def read_lines(lines: Iterable[bytes], notes: Notes) -> Iterator[AuditLine]:
    """Read an audit log, line by line.

    @param notes: takes what else there is.
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
    """Read one line.

    @return: C{None} for one about what nobody has decided on.
    @raise LineFault: when it is none of an audit log.
    """
    if len(line) > MAX_LINE:
        raise LineFault("too long")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise LineFault("not JSON") from None
    if not isinstance(entry, dict):
        raise LineFault("not an object")
    verdict = _text(entry, "verdict")
    if verdict not in _VERDICTS:
        raise LineFault("its verdict is not known")
    if verdict in _UNDECIDED:
        return None
    try:
        stage = Stage(_text(entry, "stage"))
    except ValueError:
        raise LineFault("its stage is not known") from None
    method = _text(entry, "method")
    if not _METHOD.fullmatch(method) or method == "*":
        raise LineFault("its method is none")
    origin, path = _destination(_text(entry, "url"))
    if stage is Stage.TUNNEL or method == "CONNECT":
        stage, method, path = Stage.TUNNEL, "CONNECT", ""
    elif not path:
        # Without a path there is only the request-target * (RFC 9112 section 3.2.4).
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
    )


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise LineFault(f"no {key}")
    return value


def _optional(entry: dict[str, Any], key: str) -> str | None:
    """A text in which nothing ends a line, or changes the look of a terminal."""
    value = entry.get(key)
    if not isinstance(value, str):
        return None
    return value if value.isprintable() else "".join(char if char.isprintable() else "?" for char in value)


def _number(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _destination(url: str) -> tuple[Origin, str]:
    match = _URL.fullmatch(url)
    if match is None or _FORBIDDEN.search(url):
        raise LineFault("its url is none")
    scheme, netloc, path = match[1], match[2], match[3]
    try:
        authority = Authority.parse(netloc, DEFAULT_PORTS[scheme])
    except InvalidTarget:
        raise LineFault("the host in its url is none") from None
    # The proxy writes the slash; other writers of such logs may not.
    return Origin(scheme, authority), _plain(f"/{path}" if path.startswith("?") else path)


def _plain(path: str) -> str:
    """Encode what would end a line, or change its look where it is printed; to servers it is the same."""
    if path.isprintable():
        return path
    return "".join(char if char.isprintable() else quote(char) for char in path)
