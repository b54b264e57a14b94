"""The filter language of the audit store: C{host:api.example verdict:deny since:1h "text"}.

A filter is a list of conditions that a record must all meet.  A condition is a field with one or more values, separated
by commas, or a text that the URL, the reason or the rule contains.  C{-} before a condition negates it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeVar

import attrs

from egress.grpc.status import StatusCode
from egress.model import change

_T = TypeVar("_T")

MAX_LENGTH: Final = 4096
"""The maximum length of a filter, in characters."""

_MAX_CONDITIONS: Final = 64
_MAX_WILDCARDS: Final = 16
_VERDICTS: Final = ("allow", "deny", "unavailable", "rejected", "failed", change.VERDICT)
_VERSIONS: Final = ("1.0", "1.1", "2")
_WORKER_DIGITS: Final = 9
_CALL: Final = re.compile(r"/?([A-Za-z0-9_.]+)(?:/([A-Za-z0-9_]+|\*))?")
_STAGES: Final = ("request", "tunnel", "message", change.STAGE)
_FIELD: Final = re.compile(r"(?!https?://)([A-Za-z_]+):", re.IGNORECASE)
_BARE: Final = re.compile(r'[^\s,"]+')
_WORD: Final = re.compile(r'[^\s"]+')
_SPACE: Final = re.compile(r"\s*")
_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STATUS: Final = re.compile(r"([1-9])xx|([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?", re.IGNORECASE)
_WILDCARDS: Final = re.compile(r"\*\*|\*")
_HOST_AND_PORT: Final = re.compile(r"[^:\[\]]+:[0-9]+|\[.*\]:[0-9]+")


class FilterError(ValueError):
    """A filter that cannot be parsed.

    @ivar position: the index of the character at fault.
    @ivar remedy: the problem and the fix.
    """

    def __init__(self, position: int, remedy: str) -> None:
        super().__init__(f"character {position + 1}: {remedy}")
        self.position = position
        self.remedy = remedy


@attrs.frozen
class Equals:
    """A value that equals a text."""

    value: str


@attrs.frozen
class Subdomain:
    """A host below a domain.

    @ivar domain: the domain, without a dot at its start.
    """

    domain: str


@attrs.frozen
class Prefix:
    """A value that begins with a text."""

    value: str


@attrs.frozen
class Matches:
    """A value that matches a regular expression as a whole.

    @ivar pattern: the expression, which RE2 and PostgreSQL both understand.
    @ivar pieces: the texts between the wildcards that it was made from, in their order.
    """

    pattern: str
    pieces: tuple[str, ...] = ()


@attrs.frozen
class Between:
    """A number in a range, which includes both ends."""

    low: int
    high: int


@attrs.frozen
class Network:
    """An address in a network."""

    network: IPv4Network | IPv6Network


Test = Equals | Subdomain | Prefix | Matches | Between | Network


@attrs.frozen
class Condition:
    """A condition on one field: one of the tests must be met.

    @ivar field: the name of the field.
    @ivar tests: the tests.
    @ivar negated: whether no test must be met.
    """

    field: str
    tests: tuple[Test, ...]
    negated: bool = False


@attrs.frozen
class Text:
    """A text that the URL, the reason or the rule contains: whole words, of which the last can be incomplete.

    @ivar text: the words.
    @ivar negated: whether it must not be contained.
    """

    text: str
    negated: bool = False


@attrs.frozen
class Filter:
    """A parsed filter.

    @ivar conditions: the conditions on fields.
    @ivar texts: the texts.
    @ivar since: the earliest time, in seconds since the epoch.
    @ivar until: the time before which a request began, in seconds since the epoch.
    """

    conditions: tuple[Condition, ...] = ()
    texts: tuple[Text, ...] = ()
    since: float | None = None
    until: float | None = None


class _Invalid(ValueError):
    """A value that its field does not accept; the message is the remedy."""


def _host(text: str) -> Test:
    host = text.lower().rstrip(".")
    if _HOST_AND_PORT.fullmatch(host):
        raise _Invalid("write the host without a port")
    for prefix in ("*.", "."):
        if host.startswith(prefix):
            host = host.removeprefix(prefix)
            if not host or "*" in host:
                break
            return Subdomain(host)
    if not host or "*" in host:
        raise _Invalid("write a host, as in api.example, or *.example for its subdomains")
    return Equals(host.strip("[]"))


def _path(text: str) -> Test:
    if not text.startswith(("/", "*")):
        raise _Invalid("a path begins with /, as in /v1/** or /v1/*/items")
    # The store writes lone surrogates in this way; in a pattern, a backslash is escaped.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    pieces = _WILDCARDS.split(text)
    if len(pieces) == 1:
        return Equals(text)
    if len(pieces) > _MAX_WILDCARDS:
        raise _Invalid(f"write fewer than {_MAX_WILDCARDS} wildcards")
    if len(pieces) == 2 and text.endswith("**"):
        return Prefix(pieces[0])
    wildcards = [".*" if each == "**" else "[^/]*" for each in _WILDCARDS.findall(text)]
    parts = [re.escape(piece) + wildcard for piece, wildcard in zip(pieces, [*wildcards, ""], strict=True)]
    return Matches("".join(parts), tuple(pieces))


def _status(text: str) -> Test:
    match = _STATUS.fullmatch(text)
    if match is None:
        raise _Invalid("write a status, as in 404, 5xx or 400-499")
    if match[1]:
        return Between(int(match[1]) * 100, int(match[1]) * 100 + 99)
    return Between(int(match[2]), int(match[3] or match[2]))


def _client(text: str) -> Test:
    if "/" in text:
        address, _, length = text.partition("/")
        try:
            return Network(ip_network(f"{address.strip('[]')}/{length}", strict=False))
        except ValueError:
            raise _Invalid("write a network as in 10.0.0.0/8, an address, or the name of a client") from None
    return Equals(text.strip("[]"))


def _worker(text: str) -> Test:
    if not (text.isascii() and text.isdecimal() and len(text) < _WORKER_DIGITS):
        raise _Invalid("write the number of a worker, as in 2; 0 without workers")
    return Between(int(text), int(text))


def _call(text: str) -> Test:
    match = _CALL.fullmatch(text)
    if match is None:
        raise _Invalid("write a service, as in users.v1.Users, or a service and a method, as in users.v1.Users/GetUser")
    service, method = match.groups("*")
    return Prefix(f"{service}/") if method == "*" else Equals(f"{service}/{method}")


def _grpc_status(text: str) -> Test:
    if text.upper() not in StatusCode.__members__:
        raise _Invalid("write the name of a status, as in PERMISSION_DENIED")
    return Equals(text.upper())


def _one_of(*values: str) -> Callable[[str], Test]:
    def take(text: str) -> Test:
        value = text.lower()
        if value not in values:
            raise _Invalid(f"write {', '.join(values[:-1])} or {values[-1]}")
        return Equals(value)

    return take


_FIELDS: Final[dict[str, Callable[[str], Test]]] = {
    "host": _host,
    "path": _path,
    "method": lambda text: Equals(text.upper()),
    "status": _status,
    "verdict": _one_of(*_VERDICTS),
    "observed": _one_of("deny", "unavailable"),
    "stage": _one_of(*_STAGES),
    "outcome": Equals,
    "rule": Equals,
    "client": _client,
    "node": Equals,
    "worker": _worker,
    "id": Equals,
    "grpc": _call,
    "grpc_status": _grpc_status,
    "policy": lambda text: Prefix(text[:-1]) if text.endswith("*") else Equals(text),
    **dict.fromkeys(("http", "client_http", "origin_http"), _one_of(*_VERSIONS)),
}
_TIMES: Final = ("since", "until")

FIELDS: Final = (*_FIELDS, *_TIMES)
"""The names of the fields."""


def parse_filter(text: str, now: float) -> Filter:
    """Parse a filter.

    @param text: the filter; an empty text matches every record.
    @param now: the current time, in seconds since the epoch, for relative times.
    @raise FilterError: naming the position and the fix.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(MAX_LENGTH, f"write at most {MAX_LENGTH} characters")
    return _Parser(text, now).parse()


class _Parser:
    """Parses one filter.

    @param text: the filter.
    @param now: the current time.
    """

    def __init__(self, text: str, now: float) -> None:
        self._text = text
        self._now = now
        self._at = 0
        self._conditions: list[Condition] = []
        self._texts: list[Text] = []
        self._times: dict[str, float] = {}

    def parse(self) -> Filter:
        """Parse all conditions."""
        while self._skip_space():
            if len(self._conditions) + len(self._texts) >= _MAX_CONDITIONS:
                raise FilterError(self._at, f"write at most {_MAX_CONDITIONS} conditions")
            self._condition()
        since, until = self._times.get("since"), self._times.get("until")
        return Filter(tuple(self._conditions), tuple(self._texts), since, until)

    def _skip_space(self) -> bool:
        match = _SPACE.match(self._text, self._at)
        assert match is not None  # it may be empty
        self._at = match.end()
        return self._at < len(self._text)

    def _condition(self) -> None:
        start = self._at
        negated = self._text[start] == "-"
        self._at += negated
        field = _FIELD.match(self._text, self._at)
        if field is None:
            self._add_text(start, negated)
            return
        name = field[1].lower()
        if name not in FIELDS:
            close = get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"use {', '.join(FIELDS)}, or put a text in quotes"
            raise FilterError(self._at, f"there is no field {field[1]}: {hint}")
        self._at = field.end()
        values = self._values(name)
        if name in _TIMES:
            self._add_time(name, values, start, negated)
            return
        tests = tuple(self._convert(_FIELDS[name], at, value) for at, value in values)
        self._conditions.append(Condition(name, tests, negated))

    def _add_text(self, start: int, negated: bool) -> None:
        if self._text[self._at : self._at + 1] == '"':
            text = self._quoted()
        else:
            match = _WORD.match(self._text, self._at)
            if match is None:
                raise FilterError(start, "write a field or a text after -, as in -verdict:allow")
            text = match[0]
            self._at = match.end()
        if not any(char.isalnum() for char in text):
            raise FilterError(start, "a text needs a letter or a digit")
        self._texts.append(Text(text, negated))

    def _values(self, name: str) -> list[tuple[int, str]]:
        values = []
        while True:
            at = self._at
            if self._text[at : at + 1] == '"':
                value = self._quoted()
            else:
                match = _BARE.match(self._text, at)
                value = "" if match is None else match[0]
                self._at += len(value)
            if not value:
                raise FilterError(at, f"write a value after {name}:, without a space")
            values.append((at, value))
            if self._text[self._at : self._at + 1] != ",":
                return values
            self._at += 1

    def _quoted(self) -> str:
        """Parse a text in quotes; a backslash precedes a quote or a backslash inside of it."""
        start = self._at
        chars: list[str] = []
        index = start + 1
        while index < len(self._text):
            char = self._text[index]
            if char == '"':
                self._at = index + 1
                return "".join(chars)
            if char == "\\" and self._text[index + 1 : index + 2] in ('"', "\\"):
                index += 1
                char = self._text[index]
            chars.append(char)
            index += 1
        raise FilterError(start, 'add the closing "')

    def _add_time(self, name: str, values: list[tuple[int, str]], start: int, negated: bool) -> None:
        if negated:
            raise FilterError(start, f"{name} cannot be negated: use {'until' if name == 'since' else 'since'}")
        if name in self._times:
            raise FilterError(start, f"{name} was given before: remove one of them")
        if len(values) > 1:
            raise FilterError(values[1][0], f"{name} takes one time")
        self._times[name] = self._convert(self._time, *values[0])

    def _convert(self, convert: Callable[[str], _T], at: int, value: str) -> _T:
        try:
            return convert(value)
        except _Invalid as error:
            raise FilterError(at, f"{value!r}: {error}") from error

    def _time(self, text: str) -> float:
        ago = _AGO.fullmatch(text)
        if ago is not None:
            return self._now - int(ago[1]) * _UNITS[ago[2]]
        try:
            # Python 3.10 does not accept the suffix Z.
            moment = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=timezone.utc)
            return moment.timestamp()
        except ValueError:
            raise _Invalid("write a time, as in 1h, 30m, 2d, 2026-01-31 or 2026-01-31T08:00:00Z (UTC)") from None
