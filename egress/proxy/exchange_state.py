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


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.CHECKING: frozenset({State.RESOLVING, State.COLLECTING, State.DECIDING, State.DONE}),
    # RESOLVING precedes authorization, or follows it: the authorizer needs the addresses, the addresses have changed,
    # or the request is allowed.
    State.RESOLVING: frozenset({State.COLLECTING, State.DECIDING, State.CONNECTING, State.DONE}),
    State.COLLECTING: frozenset({State.DECIDING, State.DONE}),
    # Back to COLLECTING, at most once: the authorizer needs the content. No name is resolved before DECIDING, unless
    # names are resolved before authorization.
    State.DECIDING: frozenset({State.COLLECTING, State.RESOLVING, State.CONNECTING, State.DONE}),
    State.CONNECTING: frozenset({State.FORWARDING, State.DONE}),
    # Back: a pooled connection was stale, and the request can be retried.
    State.FORWARDING: frozenset({State.RESOLVING, State.CONNECTING, State.SWITCHED, State.DONE}),
    State.SWITCHED: frozenset({State.DONE}),
    State.DONE: frozenset(),
}
