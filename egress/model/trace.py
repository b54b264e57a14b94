"""Distributed traces: the context in messages (W3C Trace Context), and the part of a trace that is an exchange."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final

import attr

from egress.model.decision import Headers

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 0x01

# Section 3.3.1 of W3C Trace Context.
_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS: Final = 32
# An implementation should propagate at least 512 characters.
_MAX_STATE: Final = 1024


class Otel(enum.Enum):
    """Whether the proxy exports OpenTelemetry data.

    @cvar AUTO: as the C{OTEL_} variables of the environment say.
    @cvar OFF: no data.
    """

    AUTO = "auto"
    OFF = "off"


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class TraceContext:
    """The context of a request: the span of the sender, which is the parent of the receiver's spans.

    @ivar trace_id: 32 hexadecimal digits.
    @ivar span_id: 16 hexadecimal digits.
    @ivar sampled: whether the sender may have recorded its span.
    @ivar state: the value of C{tracestate}; empty if there is none.
    """

    trace_id: Final[str]
    span_id: Final[str]
    sampled: Final[bool]
    state: Final[str]

    def __init__(self, trace_id: str, span_id: str, sampled: bool, state: str = "") -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.state = state

    @property
    def fields(self) -> Headers:
        """The header fields with this context."""
        parent = (TRACEPARENT, f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}".encode("ascii"))
        return (parent, (TRACESTATE, self.state.encode("ascii"))) if self.state else (parent,)


def trace_context(headers: Headers) -> TraceContext | None:
    """Parse the context of a request.

    @return: C{None} if there is none, or if it is not valid: then the request begins a new trace.
    """
    parents = [value for name, value in headers if name.lower() == TRACEPARENT]
    if len(parents) != 1:
        return None
    match = _TRACEPARENT.fullmatch(parents[0])
    if match is None:
        return None
    version, trace_id, span_id, flags = (part.decode("ascii") for part in match.groups()[:4])
    # A later version may have more fields; version ff is invalid.
    if version == "ff" or (version == "00" and match[5] is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    state = _state([value for name, value in headers if name.lower() == TRACESTATE])
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), state)


def _state(values: list[bytes]) -> str:
    """Return the combined C{tracestate}; empty if a part of it is invalid."""
    if not values:
        return ""
    try:
        text = b",".join(values).decode("ascii")
    except UnicodeDecodeError:
        return ""
    if len(text) > _MAX_STATE:
        return ""
    members = [member for member in (each.strip(" \t") for each in text.split(",")) if member]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    keys = [member.partition("=")[0] for member in members]
    return ",".join(members) if len(set(keys)) == len(keys) else ""


class ExchangeTrace:
    """The part of a trace that is one exchange.

    The ids of spans that other servers see as parents exist from the beginning of the exchange; the spans are made
    after its end, from its record.

    @param parent: the context that the client sent; C{None}: the exchange begins the trace.
    @param trace_id: the id of the trace.
    @param new_span_id: makes the id of a span.
    @param sampled: whether the spans are exported.
    @param propagates: whether origins receive the context.
    @ivar span_id: the span of the whole exchange.
    @ivar decisions: the spans of the authorization requests, in the order of time.
    @ivar attempts: the spans of the requests to the origin, in the order of time.
    """

    __slots__ = ("_new_span_id", "_propagates", "attempts", "decisions", "parent", "sampled", "span_id", "trace_id")

    def __init__(
        self,
        parent: TraceContext | None,
        trace_id: str,
        new_span_id: Callable[[], str],
        *,
        sampled: bool,
        propagates: bool,
    ) -> None:
        self.parent = parent
        self.trace_id = trace_id
        self.span_id = new_span_id()
        self.sampled = sampled
        self.decisions: list[str] = []
        self.attempts: list[str] = []
        self._new_span_id = new_span_id
        self._propagates = propagates

    def _context(self, spans: list[str]) -> TraceContext:
        spans.append(self._new_span_id())
        state = "" if self.parent is None else self.parent.state
        return TraceContext(self.trace_id, spans[-1], self.sampled, state)

    def begin_decision(self) -> Headers:
        """Begin an authorization request.

        @return: the header fields for the authorization service.
        """
        return self._context(self.decisions).fields

    def begin_attempt(self) -> Headers:
        """Begin a request to the origin.

        @return: the header fields for the origin; empty if it receives no context.
        """
        context = self._context(self.attempts)
        return context.fields if self._propagates else ()
