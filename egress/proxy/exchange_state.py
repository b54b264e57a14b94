"""The states of an exchange.

Only C{DECIDING} permits a connection to the origin, and only with a decision that allows the request.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.Enum):
    """The state of an exchange."""

    CHECKING = "checking port, address and name without name resolution"
    RESOLVING = "resolving the name and checking its addresses"
    COLLECTING = "reading the content for the authorizer"
    DECIDING = "waiting for the decision"
    CONNECTING = "dialling the origin"
    FORWARDING = "forwarding request and response"
    SWITCHED = "relaying after an upgrade"
    DONE = "ended and recorded"

    # C{Enum} implements this in Python, which is slow; each transition looks up the table.
    __hash__ = object.__hash__


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
CHECKING: Final = State.CHECKING
RESOLVING: Final = State.RESOLVING
COLLECTING: Final = State.COLLECTING
DECIDING: Final = State.DECIDING
CONNECTING: Final = State.CONNECTING
FORWARDING: Final = State.FORWARDING
SWITCHED: Final = State.SWITCHED
DONE: Final = State.DONE

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    CHECKING: frozenset({RESOLVING, COLLECTING, DECIDING, DONE}),
    # RESOLVING precedes authorization, or follows it: the authorizer needs the addresses, the addresses have changed,
    # or the request is allowed.
    RESOLVING: frozenset({COLLECTING, DECIDING, CONNECTING, DONE}),
    COLLECTING: frozenset({DECIDING, DONE}),
    # Back to COLLECTING, at most once: the authorizer needs the content. No name is resolved before DECIDING, unless
    # names are resolved before authorization.
    DECIDING: frozenset({COLLECTING, RESOLVING, CONNECTING, DONE}),
    CONNECTING: frozenset({FORWARDING, DONE}),
    # Back: a pooled connection was stale, and the request can be retried.
    FORWARDING: frozenset({RESOLVING, CONNECTING, SWITCHED, DONE}),
    SWITCHED: frozenset({DONE}),
    DONE: frozenset(),
}
