"""C{egress.lock}, the lock file of a job's destinations: one destination per line, committed with the code.

The format is designed for reviews: sorted, one destination per line, and independent of the individual run.  ::

    egress-lock 1
    detail method

    GET     https://api.example.com
    POST    https://api.example.com
    CONNECT db.example.com:5432
"""

from __future__ import annotations

import enum
import re
from typing import Final

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.counted import counted
from egress.model.decision import Stage
from egress.model.errors import InvalidTarget
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.path_templates import pattern_of, shape_of
from egress.policy.match.paths import PathPattern, canonical, compile_path, remove_dot_segments

VERSION: Final = 1
LOCK_FILE: Final = "egress.lock"

_HEAD: Final = "egress-lock"
_ANY: Final = "*"
_CONNECT: Final = "CONNECT"
_MARKERS: Final = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
_URL: Final = re.compile(r"(https?)://([^/?#]+)(/[^?#]*)?")
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")


class LockFault(ValueError):
    """An invalid lock file; the message names the position and the fix."""


class Detail(enum.Enum):
    """The attributes that distinguish two destinations.

    @cvar HOST: scheme, host and port.
    @cvar METHOD: also the method.
    @cvar PATH: also the path, with C{*} for parts that vary between requests.
    """

    HOST = "host"
    METHOD = "method"
    PATH = "path"


@attrs.frozen
class Destination:
    """The destination of a request.

    @ivar scheme: empty for a tunnel.
    @ivar authority: the host and the port.
    @ivar method: C{"*"} if the method is not compared.
    @ivar path: a path pattern; empty if the path is not compared, and for C{OPTIONS *}.
    """

    scheme: str
    authority: Authority
    method: str
    path: str = ""

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key: tunnels last, then by host."""
        return (not self.scheme, self.authority.host, self.authority.port, self.scheme, self.path, self.method)

    @property
    def where(self) -> str:
        """The destination without its method."""
        return f"{Origin(self.scheme, self.authority)}{self.path}" if self.scheme else str(self.authority)

    def __str__(self) -> str:
        return f"{self.method:<7} {self.where}"


@attrs.frozen
class Lock:
    """The content of a lock file.

    @ivar detail: the attributes that distinguish two destinations.
    @ivar destinations: the destinations.
    """

    detail: Detail
    destinations: frozenset[Destination]

    def write(self) -> str:
        """Serialize the lock as text."""
        lines = [
            f"{_HEAD} {VERSION}",
            f"detail {self.detail.value}",
            "",
            *(str(one) for one in sorted(self.destinations, key=lambda one: one.order)),
        ]
        return "\n".join(lines) + "\n"


class _Patterns:
    """The path patterns of a lock, which cover other destinations; a user or the templates of paths created them."""

    def __init__(self, lock: Lock) -> None:
        self._patterns: dict[tuple[str, Authority, str], list[tuple[Destination, PathPattern]]] = {}
        for one in lock.destinations:
            if _ANY in one.path:
                compiled = compile_path(one.path, broad=False)
                self._patterns.setdefault(_without_path(one), []).append((one, compiled))

    def covering(self, other: Destination) -> set[Destination]:
        """Return all patterns that cover a destination."""
        candidates = self._patterns.get(_without_path(other), ())
        return {one for one, pattern in candidates if pattern.fullmatch(other.path)}


def _without_path(one: Destination) -> tuple[str, Authority, str]:
    return (one.scheme, one.authority, one.method)


def destination_of(line: AuditLine, detail: Detail) -> Destination:
    """Return the destination of a request."""
    authority = line.origin.authority
    if line.stage is Stage.TUNNEL:
        return Destination("", authority, _CONNECT)
    method = _ANY if detail is Detail.HOST else line.method
    path = ""
    if detail is Detail.PATH and line.path.startswith("/"):
        path = pattern_of(shape_of(remove_dot_segments(canonical(line.path.partition("?")[0]))))
    return Destination(line.origin.scheme, authority, method, path)


def parse_lock(text: str, where: str) -> Lock:
    """Parse a lock file.

    @param text: the content of the file.
    @param where: the name of the file in errors.
    @raise LockFault: if the text is not a valid lock file.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    for number, line in lines:
        if line.startswith(_MARKERS):
            raise LockFault(f"{where}:{number}: unresolved merge conflict; keep the lines of both sides")
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines or lines[0][1].split() != [_HEAD, str(VERSION)]:
        raise LockFault(
            f"{where}: is not a lock file of a known version; start it with {_HEAD} {VERSION}, or create it with: "
            "egress lock record"
        )
    words = lines[1][1].split() if len(lines) > 1 else []
    if len(words) != 2 or words[0] != "detail" or words[1] not in {detail.value for detail in Detail}:
        raise LockFault(f"{where}: the second line must be detail host, detail method or detail path")
    detail = Detail(words[1])
    return Lock(detail, frozenset(_destination(line, detail, f"{where}:{number}") for number, line in lines[2:]))


def _destination(line: str, detail: Detail, where: str) -> Destination:
    words = line.split()
    if len(words) != 2 or not _METHOD.fullmatch(words[0]):
        raise LockFault(f"{where}: write a method and a URL, as in GET https://api.example.com")
    method, url = words
    try:
        if method == _CONNECT:
            return Destination("", Authority.parse(url), _CONNECT)
        match = _URL.fullmatch(url)
        if match is None:
            raise LockFault(
                f"{where}: write an http:// or https:// URL without a query, or a tunnel as CONNECT host:port"
            )
        authority = Authority.parse(match[2], DEFAULT_PORTS[match[1]])
        path = match[3] or ""
        if path:
            compile_path(path, broad=False)
    except InvalidTarget as error:
        raise LockFault(f"{where}: {error.reason}") from None
    except LockFault:
        raise
    except ValueError as error:
        raise LockFault(f"{where}: {error}") from None
    if (method == _ANY) is not (detail is Detail.HOST):
        raise LockFault(f"{where}: write * as the method with detail host, and only then")
    if path and detail is not Detail.PATH:
        raise LockFault(f"{where}: a path requires detail path; remove the path")
    return Destination(match[1], authority, method, path)


@attrs.define
class Visits:
    """Statistics of the requests to one destination.

    @ivar count: the number of requests.
    @ivar first: the time of the earliest request.
    @ivar example: the path of one request, without a query; for a request that was not forwarded, the reason.
    """

    count: int
    first: str
    example: str

    def take(self, time: str, example: str) -> None:
        """Add one request; the order of the requests does not matter."""
        self.count += 1
        self.first = min(self.first, time)
        self.example = min(self.example, example, key=lambda text: (len(text), text))


class Egress:
    """The destinations of recorded traffic.

    @ivar left: the destinations with at least one allowed request.
    """

    def __init__(self, detail: Detail) -> None:
        self.detail = detail
        self.left: dict[Destination, Visits] = {}
        self._stopped: dict[Destination, Visits] = {}

    @property
    def stopped(self) -> dict[Destination, Visits]:
        """The destinations for which all requests were denied, or had no decision."""
        return {one: visits for one, visits in self._stopped.items() if one not in self.left}

    def add(self, line: AuditLine) -> None:
        """Add one request."""
        destination = destination_of(line, self.detail)
        into = self.left if line.left else self._stopped
        example = line.path.partition("?")[0] if line.left else line.reason
        visits = into.get(destination)
        if visits is None:
            into[destination] = Visits(1, line.time, example)
        else:
            visits.take(line.time, example)

    def lock(self) -> Lock:
        """Create a lock of the destinations with allowed requests."""
        return Lock(self.detail, frozenset(self.left))


@attrs.frozen
class Difference:
    """The difference between traffic and a lock.

    @ivar new: destinations with allowed requests that are not in the lock.
    @ivar unseen: destinations in the lock without allowed requests.
    @ivar stopped: requested destinations without allowed requests.
    """

    new: tuple[tuple[Destination, Visits], ...]
    unseen: tuple[Destination, ...]
    stopped: tuple[tuple[Destination, Visits], ...]


def compare(lock: Lock, egress: Egress) -> Difference:
    """Compare traffic with a lock."""
    patterns = _Patterns(lock)
    new: dict[Destination, Visits] = {}
    seen: set[Destination] = set()
    for one, visits in egress.left.items():
        covering = patterns.covering(one)
        seen |= covering
        if one in lock.destinations:
            seen.add(one)
        elif not covering:
            new[one] = visits
    unseen = sorted(lock.destinations - seen, key=lambda one: one.order)
    return Difference(_sorted(new), tuple(unseen), _sorted(egress.stopped))


def _sorted(found: dict[Destination, Visits]) -> tuple[tuple[Destination, Visits], ...]:
    return tuple(sorted(found.items(), key=lambda item: item[0].order))


def in_lines(difference: Difference) -> list[str]:
    """Format a difference for a reviewer, one destination per line."""
    lines = []
    for one, visits in difference.new:
        example = f", e.g. {visits.example}" if visits.example and not one.path else ""
        lines.append(f"+ {one}  {_requests(visits, one)}, first at {visits.first}{example}")
    lines += [f"- {one}  in the lock file, without requests" for one in difference.unseen]
    lines += [
        f"! {one}  {_requests(visits, one)} not forwarded: {visits.example}" for one, visits in difference.stopped
    ]
    return lines


def _requests(visits: Visits, one: Destination) -> str:
    return counted(visits.count, "request" if one.scheme else "tunnel")
