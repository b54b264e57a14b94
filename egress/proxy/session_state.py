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


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
IDLE: Final = SessionState.IDLE
HEAD: Final = SessionState.HEAD
REQUEST: Final = SessionState.REQUEST
EXCHANGE: Final = SessionState.EXCHANGE
UPGRADED: Final = SessionState.UPGRADED
TUNNEL: Final = SessionState.TUNNEL
CLOSING: Final = SessionState.CLOSING
LOST: Final = SessionState.LOST

# How long a stopping proxy waits for the first request of a new connection, which may be on the way.
FIRST_REQUEST_SECONDS: Final = 0.5

# The states in which no request is read.
CLOSED: Final = frozenset({CLOSING, LOST})

TRANSITIONS: Final[dict[SessionState, frozenset[SessionState]]] = {
    IDLE: CLOSED | {HEAD, REQUEST},
    HEAD: CLOSED | {REQUEST},
    # Back: the request was refused, and the connection persists.
    REQUEST: CLOSED | {EXCHANGE, TUNNEL, IDLE},
    EXCHANGE: CLOSED | {IDLE, UPGRADED},
    UPGRADED: CLOSED,
    TUNNEL: CLOSED,
    CLOSING: frozenset({LOST}),
    # An aborted connection is lost a moment later.
    LOST: frozenset({LOST}),
}
