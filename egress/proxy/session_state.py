"""The states of an HTTP/1 session with a client."""

from __future__ import annotations

import enum
from typing import Final


class SessionState(enum.Enum):
    """The state of a session."""

    IDLE = "waiting for the first byte of a request"
    HEAD = "reading the head of a request"
    REQUEST = "authenticating the client of a request and checking its target"
    EXCHANGE = "an exchange is active"
    UPGRADED = "the exchange relays another protocol"
    TUNNEL = "a tunnel is open"
    CLOSING = "sending the last data, and discarding received data"
    LOST = "aborted, or the connection is lost"

    # C{Enum} implements this in Python, which is slow; each transition looks up the table.
    __hash__ = object.__hash__


# The states in which no request is read.
CLOSED: Final = frozenset({SessionState.CLOSING, SessionState.LOST})

TRANSITIONS: Final[dict[SessionState, frozenset[SessionState]]] = {
    SessionState.IDLE: CLOSED | {SessionState.HEAD, SessionState.REQUEST},
    SessionState.HEAD: CLOSED | {SessionState.REQUEST},
    # Back: the request was refused, and the connection persists.
    SessionState.REQUEST: CLOSED | {SessionState.EXCHANGE, SessionState.TUNNEL, SessionState.IDLE},
    SessionState.EXCHANGE: CLOSED | {SessionState.IDLE, SessionState.UPGRADED},
    SessionState.UPGRADED: CLOSED,
    SessionState.TUNNEL: CLOSED,
    SessionState.CLOSING: frozenset({SessionState.LOST}),
    # An aborted connection is lost a moment later.
    SessionState.LOST: frozenset({SessionState.LOST}),
}
