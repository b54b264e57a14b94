"""The forwarding of one allowed request over one origin connection, with backpressure in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.interfaces import IDelayedCall

from egress.http.body import BodyKind, encode_chunk
from egress.http.connect_handshake import refusal_by_upstream
from egress.http.heads import RequestHead, ResponseHead
from egress.http.hop_by_hop import encode_fields
from egress.http.upgrade import Upgrade
from egress.http.writers import (
    encode_interim,
    encode_response,
    encode_switch,
    response_framing,
)
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError
from egress.proxy.lease import Lease
from egress.proxy.request_body import RequestBody
from egress.relay.socket_relay import TAKEOVER_BYTES, SocketEnd, SocketRelay, relay_between
from egress.transport.tcp import unshared
from egress.upstream.origin_connection import OriginConnection

if TYPE_CHECKING:
    from egress.proxy.client_session import HttpSession
    from egress.proxy.context import ProxyContext

# The time without a response after which an origin gets the content despite C{Expect: 100-continue}. RFC 9110 section
# 10.1.1 leaves it to the client; common clients use this value.
CONTINUE_SECONDS: Final = 1.0
# The maximum number of interim responses (1xx) to one request. Their total size is limited like one head. They do not
# extend the response timeout, so that with the default timeout an origin can send one every three seconds.
MAX_INTERIM_RESPONSES: Final = 100


class ForwarderOwner(Protocol):
    """The interface of the object that is notified of the result."""

    def upgraded(self) -> None:
        """The connection has switched to another protocol."""

    def forwarded(self, *, keep_alive: bool) -> None:
        """The response is complete."""

    def forwarding_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """Forwarding failed.

        @param untouched: whether no byte of the response was received.
        @param unread: whether the origin states that it has not read the request, so that it can be retried.
        """


class Forwarder:
    """Forwards one request and its response. It is the sink of its L{OriginConnection}.

    @ivar status: the status code of the response, once its head was sent to the client.
    @ivar received: content bytes of the response.
    """

    def __init__(
        self,
        owner: ForwarderOwner,
        session: HttpSession,
        context: ProxyContext,
        head: RequestHead,
        content: RequestBody,
        connection: OriginConnection,
        release: Callable[[OriginConnection], None],
        lease: Lease | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        self.status: int | None = None
        self.received = 0
        self.connection: OriginConnection | None = connection
        self._owner = owner
        self._session = session
        self._context = context
        self._head = head
        self._content = content
        self._release = release
        self._lease = lease
        self._upgrade = upgrade
        self._request_paused = False
        self._continue_timer: IDelayedCall | None = None
        self._switched = False
        self._ended = False
        self._settled = False
        self._socket_relay: SocketRelay | None = None
        self._chunked = False
        self._keep_alive = False
        self._out: list[bytes] = []
        self._interims = 0
        self._interim_bytes = 0

    # -- request

    @property
    def wants_body(self) -> bool:
        """Whether the origin can take more content now."""
        return not self._request_paused

    def begin(self, encoded_head: bytes) -> None:
        """Send the head and the collected content. With C{Expect: 100-continue}, the content waits for the origin's
        consent.
        """
        connection = self.connection
        assert connection is not None
        self._watch()
        if self._head.expects_continue and self._content.collected:
            self._request_paused = True
            self._continue_timer = self._context.clock.callLater(CONTINUE_SECONDS, self._send_collected)
            data = encoded_head
        else:
            data = encoded_head + self._content.encode_collected()
        connection.send(self, self._head.method, data)
        if not self._content.over:
            self._session.advance()

    def _send_collected(self) -> None:
        """Send the collected content: the origin sent a 100, or the wait timed out."""
        if self._stop_waiting() and self.connection is not None:
            self._request_paused = False
            self.connection.write(self._content.encode_collected())
            self._session.advance()

    def _stop_waiting(self) -> bool:
        timer, self._continue_timer = self._continue_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        return timer is not None

    def body_data(self, data: bytes) -> None:
        """Forward content."""
        if self.connection is not None and self._may_flow(data):
            self._watch()
            self.connection.write(self._content.encode(data))

    def _may_flow(self, data: bytes) -> bool:
        """Whether the decision allows more bytes. If not, the owner has ended the exchange."""
        return self._lease is None or self._lease.consume(len(data))

    def body_end(self) -> None:
        """Forward the end of the content."""
        lease = self._lease
        if lease is None or lease.consume(self._content.trailer_size):
            encoded_end = self._content.encode_end()
            if encoded_end and self.connection is not None:
                self.connection.write(encoded_end)

    def pause_request(self) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._switched:
            self._session.pause_reading()
        else:
            self._request_paused = True

    def resume_request(self) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._switched:
            self._session.resume_reading()
            self._use_socket_relay()
        elif self._request_paused and self._continue_timer is None:
            self._request_paused = False
            self._session.advance()

    # -- response

    def _watch(self) -> None:
        limits = self._context.limits
        self._session.watch(limits.tunnel_timeout if self._switched else limits.response_timeout)

    def response_head(self, head: ResponseHead) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        # Interim responses do not restart the timeout: an origin could send them without end.
        if head.status == 101:
            self._switch(head)
        elif head.status >= 200:
            self._watch()
            if head.status == 408 and self._is_late(head):
                return
            self._begin_response(head)
        else:
            self._interim(head)

    def _interim(self, head: ResponseHead) -> None:
        encoded = encode_interim(head)
        self._interims += 1
        self._interim_bytes += len(encoded)
        if self._interims > MAX_INTERIM_RESPONSES or self._interim_bytes > self._context.limits.head:
            self._fail(OriginProtocolError("the origin sends interim answers without end"))
        elif head.status == 100 and self._continue_timer is not None:
            self._send_collected()
        elif self._head.http11 and (head.status != 100 or self._client_expects_continue) and self._may_flow(encoded):
            self._session.write(encoded)

    @property
    def _client_expects_continue(self) -> bool:
        """Whether the client still waits for a 100."""
        return self._head.expects_continue and not self._content.collected

    def _is_late(self, head: ResponseHead) -> bool:
        """Handle a 408 that is about an idle connection, not about this request.

        RFC 9110 section 15.5.9: the request may be repeated on a new connection. While content is still to be sent, the
        408 may be about this request.
        """
        connection, content = self.connection, self._content
        assert connection is not None
        if not connection.reused or head.keep_alive or not content.over:
            return False
        self.drop()
        authority = connection.route.origin.authority
        error = OriginDisconnected(f"{authority} closed its idle connection with 408 while the request was on its way")
        self._owner.forwarding_failed(error, untouched=False, unread=not content.streamed)
        return True

    def _begin_response(self, head: ResponseHead) -> None:
        connection = self.connection
        assert connection is not None
        upstream = connection.route.upstream
        if head.status == 407 and upstream is not None:
            # A challenge to the proxy. The client must not learn about the credentials of the upstream proxy.
            self._fail(refusal_by_upstream(upstream, head.status, head.reason))
            return
        framing = response_framing(head, self._head)
        announced = framing.length if framing.kind is BodyKind.LENGTH else 0
        if self._lease is not None and not self._lease.has_budget(announced):
            # No response is better than a partial one.
            return
        self._stop_waiting()
        self._chunked = framing.kind is BodyKind.CHUNKED
        # A response before the end of the request closes the client connection: the client may never send the rest of
        # the content (RFC 9112 section 9.3).
        self._keep_alive = (
            framing.kind is not BodyKind.UNTIL_CLOSE and self._content.over and self._session.may_keep_alive(self._head)
        )
        if connection.logged_in and not head.keep_alive:
            # The authentication ends with the origin connection; closing the client connection signals this.
            self._keep_alive = False
        self.status = head.status
        self._out.append(encode_response(head, self._head, framing, keep_alive=self._keep_alive))

    def response_data(self, data: bytes) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._lease is not None and not self._lease.consume(len(data)):
            return
        self.received += len(data)
        self._watch()
        self._out.append(encode_chunk(data) if self._chunked else data)

    def response_flush(self) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._out:
            out, self._out = self._out, []
            self._session.write(out[0] if len(out) == 1 else b"".join(out))

    def response_end(self, trailers: Headers) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._chunked:
            fields = encode_fields(trailers)
            if fields and not self._may_flow(fields):
                return
            self._out.append(b"0\r\n%b\r\n" % fields)
        self.response_flush()
        connection, self.connection = self.connection, None
        assert connection is not None
        if connection.reusable and self._content.over and not self._request_paused:
            self._release(connection)
        else:
            # The origin responded before it had the whole request, and would read the rest as the next request.
            connection.close()
        self._owner.forwarded(keep_alive=self._keep_alive)

    def response_failed(self, error: EgressError, *, untouched: bool) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        self.connection = None
        self._stop_waiting()
        self._owner.forwarding_failed(error, untouched=untouched)

    def _fail(self, error: EgressError) -> None:
        self.drop()
        self._owner.forwarding_failed(error, untouched=False)

    # -- after an upgrade

    def _switch(self, head: ResponseHead) -> None:
        # Accept only the protocol that was requested and authorized; another one would bypass decisions.
        upgrade = self._upgrade
        if upgrade is None:
            self._fail(OriginProtocolError("the origin switched to a protocol that it was not asked for"))
            return
        fault = upgrade.validate(head)
        if fault is None and (not self._content.over or self._continue_timer is not None):
            # RFC 9110 section 7.8: the response in the new protocol is a response to the whole request.
            fault = "the origin switched to another protocol before it had the whole request"
        if fault is not None:
            self._fail(OriginProtocolError(fault))
            return
        self._switched = True
        self.status = head.status
        self._session.write(encode_switch(head, upgrade))
        self._watch()
        self._owner.upgraded()
        # Until this turn of the reactor ends, transports may still be resumed.
        self._context.clock.callLater(0, self._settle)

    def _settle(self) -> None:
        self._settled = True

    def response_switched(self, data: bytes) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._lease is not None and not self._lease.consume(len(data)):
            return
        self.received += len(data)
        self._watch()
        self._session.write(data)
        self._use_socket_relay()

    def switched_data(self, data: bytes) -> None:
        """Relay client data after an upgrade."""
        if self.connection is not None and self._may_flow(data):
            self._content.sent += len(data)
            self._watch()
            self.connection.write(data)
            self._use_socket_relay()

    def switched_end(self) -> bool:
        """Handle the end of the client's data after an upgrade.

        @return: whether the end was passed to the origin, which may still send. A WebSocket ends in both directions
            simultaneously.
        """
        upgrade, connection = self._upgrade, self.connection
        if upgrade is None or upgrade.is_websocket or connection is None or not connection.end_writing():
            return False
        self._ended = True
        return True

    def _use_socket_relay(self) -> None:
        """Move a large transfer to a socket relay, as L{egress.relay.relay} does. Not possible with TLS."""
        connection = self.connection
        if self._socket_relay is not None or connection is None or not self._settled or self._ended:
            return
        if self.received + self._content.sent < TAKEOVER_BYTES:
            return
        client_transport, origin_transport = unshared(self._session.transport), connection.transport
        self._socket_relay = relay_between(
            client_transport, origin_transport, self._context.flows, self._watch, self._socket_relay_ended, self._lease
        )

    def _socket_relay_ended(self, broken: SocketEnd | None) -> None:
        """Handle the end of the socket relay."""
        socket_relay, connection = self._socket_relay, self.connection
        assert socket_relay is not None and connection is not None
        if broken is socket_relay.client:
            # The loss of the client connection drops the origin connection.
            self._session.abort()
            return
        if broken is None:
            # The last data to the origin may still be in transit.
            self.connection = None
            connection.close()
        self._fail(OriginDisconnected(f"{connection.route.origin.authority} closed the connection"))

    # -- client backpressure and end

    def pause_response(self) -> None:
        """Pause the response: the client reads too slowly."""
        if self.connection is not None:
            self.connection.pause()

    def resume_response(self) -> None:
        """Resume the response: the client reads again."""
        if self.connection is not None:
            self.connection.resume()
            if self._switched:
                self._use_socket_relay()

    def drop(self) -> None:
        """Abort the origin connection and stop forwarding."""
        self._stop_waiting()
        self._out.clear()
        socket_relay, self._socket_relay = self._socket_relay, None
        if socket_relay is not None:
            socket_relay.stop()
            self._content.sent += socket_relay.client.moved
            self.received += socket_relay.origin.moved
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
