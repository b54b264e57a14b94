"""Helper functions for TCP transports."""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ITCPTransport, ITransport

from egress.model.route import Destination, Route
from egress.transport.tls_layer import TLS_LAYERS


def no_delay(transport: object) -> None:
    """Turn off Nagle's algorithm, if the transport uses TCP.

    The proxy writes whole messages; with the algorithm on, a handshake waits for a delayed acknowledgement.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
    else:
        below = getattr(transport, "transport", None)
        if below is not None:
            no_delay(below)


def describe_peer(route: Route, transport: object, http: str | None = None) -> Destination:
    """The destination of a connection, for records.

    @param http: the version of HTTP of the connection; C{None} if the proxy relays bytes that it does not read.
    """
    if route.upstream is not None:
        # Of several addresses, the upstream proxy reached one.
        address = str(route.addresses[0]) if len(route.addresses) == 1 else None
        return Destination(address, str(route.upstream.authority), http)
    peer = transport.getPeer()  # type: ignore[attr-defined]
    return Destination(peer.host if isinstance(peer, (IPv4Address, IPv6Address)) else None, http=http)


def below_tls(transport: object) -> object:
    """The transport of the socket, below any layers of TLS."""
    while isinstance(transport, TLS_LAYERS):
        transport = transport.transport
    return transport


def waits_to_be_read(transport: object) -> Callable[[], object]:
    """Create a test for unread data, an end or an error on a socket.

    The reactor reports them only in a later turn, which is too late for a caller that wants to write first. The test
    costs one system call and no exception (0.5 us), a C{recv} with C{MSG_PEEK} three times as much.

    @return: a function that returns true or false; always false without a socket, or if the system has no C{poll}.
    """
    sock = getattr(below_tls(transport), "socket", None)
    if sock is None or not hasattr(select, "poll"):
        return lambda: False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)


def abort_without_close_notify(transport: object) -> None:
    """Abort a connection without a TLS closing alert.

    Twisted's TLS sends a closing alert even when it is aborted. For content that ends with the connection, that alert
    tells the client that the content is complete (RFC 9112 section 9.8).
    """
    below_tls(unshared(transport)).abortConnection()  # type: ignore[attr-defined]


class SharedTransport:
    """The outer session's transport, as the inner session uses it. The outer session stays its registered producer.

    @ivar below: the transport.
    """

    def __init__(self, below: ITransport | None) -> None:
        self.below = below

    def __getattr__(self, name: str) -> object:
        return getattr(self.below, name)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Do nothing: the outer session is registered, and passes on the calls."""

    def unregisterProducer(self) -> None:
        """Let the transport close once its buffer is empty."""
        self.below.unregisterProducer()  # type: ignore[union-attr]


def unshared(transport: object) -> object:
    """The underlying transport of a shared one, otherwise the transport itself."""
    return transport.below if isinstance(transport, SharedTransport) else transport
