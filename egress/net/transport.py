"""What the proxy asks of its TCP transports."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport


def no_delay(transport: object) -> None:
    """Turn off Nagle's algorithm, where there is TCP below.

    The proxy writes whole messages; with the algorithm on, a handshake waits for a delayed acknowledgement.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
    else:
        below = getattr(transport, "transport", None)
        if below is not None:
            no_delay(below)
