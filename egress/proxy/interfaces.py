"""The interfaces inside the proxy: an exchange knows its client's side only as a stream.

The origin's side is L{egress.upstream.interfaces.IOriginStream}, so an exchange depends on the version of HTTP on
neither side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Protocol as Structure

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from h2.events import RequestReceived

    from egress.http.events import End, RequestHead, ResponseHead
    from egress.http.upgrade import Upgrade
    from egress.http2.engine import Engine
    from egress.model.authority import Authority
    from egress.model.decision import ClientIdentity, Headers
    from egress.model.errors import EgressError
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff
    from egress.upstream.authenticated_connections import AuthenticatedConnections


class IClientStream(Interface):
    """The client's side of one exchange.

    An HTTP/1 connection is one stream after the other; a connection of a later version carries several streams side by
    side. The stream passes content to the exchange while the exchange wants content (L{read_content}), and gives the
    client credit for the same number of bytes.
    """

    backpressured: bool = Attribute("Whether the client reads the response too slowly.")
    can_send_trailers: bool = Attribute("Whether the response has started, and can end with trailers.")
    logins: AuthenticatedConnections = Attribute("The origin connections that serve only this client connection.")
    transport: object = Attribute("The transport, which a relay can take over after an upgrade.")

    def watch(seconds: float | None) -> None:
        """Set the timeout of the exchange; C{None} disables it."""

    def read_content() -> None:
        """Pass on content: the exchange wants content now."""

    def send_continue() -> None:
        """Send a C{100 (Continue)} of the proxy."""

    def send_interim(head: ResponseHead) -> None:
        """Send an interim response (1xx)."""

    def send_head(head: ResponseHead, *, last: bool) -> None:
        """Send the final head. L{flush} writes it.

        @param head: the head.
        @param last: whether the client connection ends after the response, where it carries one exchange at a time.
        """

    def send_data(data: bytes) -> None:
        """Send content, or data after an upgrade. L{flush} writes it."""

    def send_end(trailers: Headers) -> None:
        """Send the end of the content. L{flush} writes it."""

    def flush() -> None:
        """Write everything that was sent."""

    def finish() -> None:
        """Handle the end of the exchange. The exchange gets no further calls."""

    def fail(error: EgressError, request_id: str) -> None:
        """Send an error response. The exchange gets no further calls."""

    def reset() -> None:
        """Abort the stream, so that the client detects that data is missing."""

    def switch(head: ResponseHead, upgrade: Upgrade) -> None:
        """Send the response that switches protocols (101)."""

    def relay() -> None:
        """Pass all further data to the exchange, which has switched protocols."""

    def pause() -> None:
        """Stop reading from the client, after an upgrade."""

    def resume() -> None:
        """Continue reading from the client, after an upgrade."""


class IClientConnection(Interface):
    """A client connection, as the tunnel that it carries uses it."""

    transport: object = Attribute("The transport.")

    def watch(seconds: float | None) -> None:
        """Set the timeout of the tunnel; C{None} disables it."""

    def unwatch() -> None:
        """Disable the timeout for a long time, without a timer."""

    def pause_reading() -> None:
        """Stop reading from the client."""

    def resume_reading() -> None:
        """Continue reading from the client."""

    def write(data: bytes) -> None:
        """Send data to the client."""

    def close() -> None:
        """Close the connection after all written data is sent."""

    def abort() -> None:
        """Abort the connection, so that the client detects that data is missing."""


class IHttp1Connection(IClientConnection):
    """An HTTP/1 client connection, as the stream of its current exchange uses it."""

    backpressured: bool = Attribute("Whether the client reads too slowly.")
    logins: AuthenticatedConnections = Attribute("The origin connections that serve only this client connection.")

    def advance() -> None:
        """Process buffered events."""

    def relay() -> None:
        """Pass all further data to the exchange, which has switched protocols."""

    def may_keep_alive(head: RequestHead) -> bool:
        """Whether the connection stays open after the response to a request."""

    def request_over(head: RequestHead) -> bool:
        """Whether the whole request was read."""

    def response_over(head: RequestHead, *, keep_alive: bool) -> None:
        """Handle a complete response: wait for the next request, or close."""


class IHttp2Connection(Interface):
    """An HTTP/2 client connection, as its streams use it."""

    logins: AuthenticatedConnections = Attribute("The origin connections that serve only this client connection.")

    busy: bool = Attribute("Whether there are streams.")

    def expect(deadline: float) -> None:
        """Note the time at which a stream expires, unless it is changed until then."""

    def write_soon() -> None:
        """Write the output in this turn of the reactor, or in the next one."""

    def add_stream(stream_id: int, stream: IHttp2ClientStream) -> None:
        """Add a stream, or replace it."""

    def use_turn() -> bool:
        """Tell whether one more tunnel can process data in this turn of the reactor; others wait for another turn."""

    def stream_over(stream_id: int) -> None:
        """Remove a stream that has ended in both directions."""


class IHttp2ClientStream(Interface):
    """One stream of an HTTP/2 client connection, as the connection uses it."""

    deadline: float | None = Attribute("The time at which the stream expires; C{None} without a timeout.")
    takes_trailers: bool = Attribute("Whether the client may end its message with trailers.")

    def receive(event: bytes | End) -> None:
        """Process data of the client, or the end of the data."""

    def sent() -> None:
        """Handle that data of the stream was written."""

    def expired() -> None:
        """Handle that the deadline has passed."""

    def lost(error: EgressError | None = None) -> None:
        """Handle that the client has reset the stream, or that the connection is lost.

        @param error: the error, if the client has not disconnected.
        """

    def revoke(cutoff: Cutoff) -> None:
        """End the exchange or the tunnel, if its decision is revoked."""


class IHttp2Requests(Interface):
    """The acceptor of the requests of an HTTP/2 client connection."""

    limit_key: str = Attribute("The client's key for per-client limits; empty if nothing is known about the client.")

    def handshake_completed(transport: object) -> None:
        """Handle the end of the TLS handshake inside a tunnel."""

    def accept(event: RequestReceived) -> None:
        """Process a request."""


# pydoctor, which does not read Twisted, recognizes an interface by its base Interface.
class ITunnel(IHalfCloseableProtocol, IPushProducer, Interface):
    """The tunnel of one CONNECT. Its client connection passes on all events of the transport."""

    def begin(buffered: bytes) -> None:
        """Take over the client's connection.

        @param buffered: the data that the client sent after the CONNECT.
        """

    def dataReceived(data: bytes) -> None:
        """Process data from the client."""

    def connectionLost(reason: Failure) -> None:
        """Handle the loss of the client connection."""

    def expired() -> None:
        """Handle the timeout that the tunnel set."""

    def revoke(cutoff: Cutoff) -> None:
        """End the tunnel, if its decision is revoked."""


class ForwarderOwner(Structure):
    """The interface of the object that is notified of the result."""

    def upgraded(self) -> None:
        """The connection has switched to another protocol."""

    def forwarded(self, error: EgressError | None = None) -> None:
        """The response is complete, or was ended properly because of an error in its messages."""

    def forwarding_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """Forwarding failed.

        @param error: the error.
        @param untouched: whether no byte of the response was received.
        @param unread: whether the origin states that it has not read the request, so that it can be retried.
        """


RequestsOpener = Callable[[IHttp2Connection, "Engine"], IHttp2Requests]
TunnelOpener = Callable[["ProxyContext", IClientConnection, "Authority", "ClientIdentity", "Headers"], ITunnel]
