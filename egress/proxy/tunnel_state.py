"""The states of a tunnel."""

from __future__ import annotations

import enum
from typing import Final


class TunnelState(enum.Enum):
    """The state of a tunnel."""

    DECIDING = "passthrough: checking, authorizing and dialling"
    SNIFFING = "waiting for the client's first bytes"
    HANDSHAKE = "TLS handshake with the client"
    SESSION = "an HTTP session"
    RELAY = "passthrough: relaying"
    DONE = "ended"


RELAYED: Final = frozenset({TunnelState.DECIDING, TunnelState.RELAY})
"""The states of passthrough tunnels."""

TRANSITIONS: Final[dict[TunnelState, frozenset[TunnelState]]] = {
    TunnelState.DECIDING: frozenset({TunnelState.SNIFFING, TunnelState.RELAY, TunnelState.DONE}),
    TunnelState.SNIFFING: frozenset({TunnelState.HANDSHAKE, TunnelState.SESSION, TunnelState.DONE}),
    TunnelState.HANDSHAKE: frozenset({TunnelState.SESSION, TunnelState.DONE}),
    TunnelState.SESSION: frozenset({TunnelState.DONE}),
    TunnelState.RELAY: frozenset({TunnelState.DONE}),
    TunnelState.DONE: frozenset(),
}
