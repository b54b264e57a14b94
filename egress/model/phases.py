"""The phases of an exchange: each of them begins where the one before it ends.

The proxy only marks the beginning of each phase, with one reading of the clock.  L{durations} computes the rest, for
the sinks that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Mark = tuple[str, float]
"""A phase, and the time of the clock at which it began."""

READ: Final = "request"
"""The proxy checks the request, and reads the content that the authorizer needs."""

DECISION: Final = "decision"
"""The proxy waits for the decision."""

DNS: Final = "dns"
"""The proxy resolves the name of the origin, or of the upstream proxy."""

CONNECT: Final = "connect"
"""The proxy opens a TCP connection to the origin, or to the upstream proxy."""

UPSTREAM_TLS: Final = "upstream-tls"
"""The TLS handshake with the upstream proxy."""

UPSTREAM_CONNECT: Final = "upstream-connect"
"""The upstream proxy opens the tunnel to the origin."""

TLS: Final = "tls"
"""The TLS handshake with the origin."""

REUSED: Final = "reused"
"""In the place of a connection: the request uses a connection of an earlier request."""

SEND: Final = "send"
"""The proxy sends the content of the request, as the client sends it."""

WAIT: Final = "wait"
"""The proxy has sent the whole request, and waits for the head of the response."""

RECEIVE: Final = "receive"
"""The proxy forwards the response."""

RELAY: Final = "relay"
"""The proxy relays the bytes of a tunnel, or of an upgraded connection."""

PHASES: Final = (
    READ,
    DECISION,
    DNS,
    CONNECT,
    UPSTREAM_TLS,
    UPSTREAM_CONNECT,
    TLS,
    REUSED,
    SEND,
    WAIT,
    RECEIVE,
    RELAY,
)
"""All phases."""


def durations(marks: Sequence[Mark], total: float) -> list[tuple[str, float]]:
    """Return each phase and its duration in seconds, in the order of time.

    @param marks: the beginning of each phase.
    @param total: the seconds from the begin of the first phase to the end of the last one.
    """
    if not marks:
        return []
    found = []
    name, since = marks[0]
    end = since + total
    for following, at in (*marks[1:], ("", end)):
        # The clock of a machine can be set back while an exchange runs.
        found.append((name, at - since if at > since else 0.0))
        name, since = following, at
    return found
