"""One allowed request on one origin connection: it goes out, its answer comes back, both under back-pressure."""

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

# How long an origin that was sent an expectation may keep silent before it gets the content anyway (RFC 9110 section
# 10.1.1 leaves it to the client; this is what common ones do).
CONTINUE_SECONDS: Final = 1.0
# Interim answers (1xx) to one request; all of them together are bounded in size like one head.  They buy an origin no
# time, so that with the default response timeout it can still send one every three seconds.
MAX_INTERIM_RESPONSES: Final = 100


class ForwarderOwner(Protocol):
    """Who is told how the forwarding went."""

    def upgraded(self) -> None:
        """The connection speaks another protocol from now on."""

    def forwarded(self, *, keep_alive: bool) -> None:
        """The answer is complete."""

    def forwarding_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """It broke.

        @param untouched: whether that was before a byte of the answer had come.
        @param unread: whether the origin says that it has not read the request, which can be sent again.
        """


class Forwarder:
    """Relays one request and its answer.  It is the sink of its L{OriginConnection}.

    @ivar status: of the answer, once its head was given to the client.
    @ivar received: content bytes of the answer.
    """

    def __init__(
        self,
        owner: ForwarderOwner,
        session: HttpSession,
        parts: ProxyContext,
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
        self._parts = parts
        self._head = head
        self._content = content
        self._release = release
        self._lease = lease
        self._upgrade = upgrade
        self._held_back = False
        self._continue_timer: IDelayedCall | None = None
        self._switched = False
        self._ended = False
        self._settled = False
        self._pump: SocketRelay | None = None
        self._chunked = False
        self._keep_alive = False
        self._out: list[bytes] = []
        self._interims = 0
        self._interim_bytes = 0

    # -- the request

    @property
    def wants_body(self) -> bool:
        """Whether the origin takes more of the content now."""
        return not self._held_back

    def begin(self, encoded_head: bytes) -> None:
        """Send the head, and what was collected of the content unless the origin is asked first."""
        connection = self.connection
        assert connection is not None
        self._watch()
        if self._head.expects_continue and self._content.collected:
            self._held_back = True
            self._continue_timer = self._parts.clock.callLater(CONTINUE_SECONDS, self._send_collected)
            data = encoded_head
        else:
            data = encoded_head + self._content.encode_collected()
        connection.send(self, self._head.method, data)
        if not self._content.over:
            self._session.advance()

    def _send_collected(self) -> None:
        """The origin agreed to the content, or kept silent for long enough."""
        if self._stop_waiting() and self.connection is not None:
            self._held_back = False
            self.connection.write(self._content.encode_collected())
            self._session.advance()

    def _stop_waiting(self) -> bool:
        timer, self._continue_timer = self._continue_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        return timer is not None

    def body_data(self, data: bytes) -> None:
        """Pass content on."""
        if self.connection is not None and self._may_flow(data):
            self._watch()
            self.connection.write(self._content.encode(data))

    def _may_flow(self, data: bytes) -> bool:
        """Whether the decision allows more; if not, the owner has ended it."""
        return self._lease is None or self._lease.consume(len(data))

    def body_end(self) -> None:
        """The content is complete."""
        lease = self._lease
        if lease is None or lease.consume(self._content.trailer_size):
            end = self._content.encode_end()
            if end and self.connection is not None:
                self.connection.write(end)

    def pause_request(self) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._switched:
            self._session.pause_reading()
        else:
            self._held_back = True

    def resume_request(self) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._switched:
            self._session.resume_reading()
            self._pump_if_worth_it()
        elif self._held_back and self._continue_timer is None:
            self._held_back = False
            self._session.advance()

    # -- the answer

    def _watch(self) -> None:
        limits = self._parts.limits
        self._session.watch(limits.tunnel_timeout if self._switched else limits.response_timeout)

    def response_head(self, head: ResponseHead) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        # Interim answers buy no time: an origin could send them for ever.
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
        if self._interims > MAX_INTERIM_RESPONSES or self._interim_bytes > self._parts.limits.head:
            self._fail(OriginProtocolError("the origin sends interim answers without end"))
        elif head.status == 100 and self._continue_timer is not None:
            self._send_collected()
        elif self._head.http11 and (head.status != 100 or self._client_waits) and self._may_flow(encoded):
            self._session.write(encoded)

    @property
    def _client_waits(self) -> bool:
        """Whether a 100 is still news to the client."""
        return self._head.expects_continue and not self._content.collected

    def _is_late(self, head: ResponseHead) -> bool:
        """End it with a 408 that an origin sent about its idle connection, rather than about this request.

        RFC 9110 section 15.5.9: the request may be repeated on a new connection.  While content is still to come, the
        origin may mean it.
        """
        connection, content = self.connection, self._content
        assert connection is not None
        if not connection.reused or head.keep_alive or not content.over:
            return False
        self.drop()
        authority = connection.route.origin.authority
        late = OriginDisconnected(f"{authority} closed its idle connection with 408 while the request was on its way")
        self._owner.forwarding_failed(late, untouched=False, unread=not content.streamed)
        return True

    def _begin_response(self, head: ResponseHead) -> None:
        connection = self.connection
        assert connection is not None
        upstream = connection.route.upstream
        if head.status == 407 and upstream is not None:
            # A challenge to us, not to the client, which has no business with the upstream proxy's credentials.
            self._fail(refusal_by_upstream(upstream, head.status, head.reason))
            return
        framing = response_framing(head, self._head)
        announced = framing.length if framing.kind is BodyKind.LENGTH else 0
        if self._lease is not None and not self._lease.has_budget(announced):
            # Better no answer than a part of one.
            return
        self._stop_waiting()
        self._chunked = framing.kind is BodyKind.CHUNKED
        # An answer before the end of the request is the last one: the rest of the content is not read to its end, since
        # the client may never send it (RFC 9112 section 9.3).
        self._keep_alive = (
            framing.kind is not BodyKind.UNTIL_CLOSE and self._content.over and self._session.may_keep_alive(self._head)
        )
        if connection.logged_in and not head.keep_alive:
            # The login ends with the connection; a client learns that from its own.
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
        if connection.reusable and self._content.over and not self._held_back:
            self._release(connection)
        else:
            # Answered before it had the whole request: what it would read next is the rest of it.
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
        # Only what was passed on was asked for: anything else would be a way around decisions.
        upgrade = self._upgrade
        if upgrade is None:
            self._fail(OriginProtocolError("the origin switched to a protocol that it was not asked for"))
            return
        fault = upgrade.validate(head)
        if fault is None and (not self._content.over or self._continue_timer is not None):
            # RFC 9110 section 7.8: the answer in the new protocol is one to the whole request.
            fault = "the origin switched to another protocol before it had the whole request"
        if fault is not None:
            self._fail(OriginProtocolError(fault))
            return
        self._switched = True
        self.status = head.status
        self._session.write(encode_switch(head, upgrade))
        self._watch()
        self._owner.upgraded()
        # Until all of this is over, transports may still be resumed.
        self._parts.clock.callLater(0, self._settle)

    def _settle(self) -> None:
        self._settled = True

    def response_switched(self, data: bytes) -> None:
        """See L{egress.upstream.origin_connection.ResponseSink}."""
        if self._lease is not None and not self._lease.consume(len(data)):
            return
        self.received += len(data)
        self._watch()
        self._session.write(data)
        self._pump_if_worth_it()

    def switched_data(self, data: bytes) -> None:
        """Relay what the client sent after an upgrade."""
        if self.connection is not None and self._may_flow(data):
            self._content.sent += len(data)
            self._watch()
            self.connection.write(data)
            self._pump_if_worth_it()

    def switched_end(self) -> bool:
        """Learn that the client sends no more after an upgrade.

        @return: whether the origin was told, so that it may still send.  A WebSocket ends in both directions at once.
        """
        upgrade, connection = self._upgrade, self.connection
        if upgrade is None or upgrade.is_websocket or connection is None or not connection.end_writing():
            return False
        self._ended = True
        return True

    def _pump_if_worth_it(self) -> None:
        """Leave what carries much to a pump, as L{egress.relay.relay} does, unless there is TLS."""
        connection = self.connection
        if self._pump is not None or connection is None or not self._settled or self._ended:
            return
        if self.received + self._content.sent < TAKEOVER_BYTES:
            return
        near, far = unshared(self._session.transport), connection.transport
        self._pump = relay_between(near, far, self._parts.flows, self._watch, self._pumped, self._lease)

    def _pumped(self, broken: SocketEnd | None) -> None:
        """The pump has come to an end."""
        pump, connection = self._pump, self.connection
        assert pump is not None and connection is not None
        if broken is pump.client:
            # Its loss drops the other.
            self._session.abort()
            return
        if broken is None:
            # What the origin was sent last may be on its way still.
            self.connection = None
            connection.close()
        self._fail(OriginDisconnected(f"{connection.route.origin.authority} closed the connection"))

    # -- the client's pace, and ways out

    def pause_response(self) -> None:
        """The client does not keep up."""
        if self.connection is not None:
            self.connection.pause()

    def resume_response(self) -> None:
        """The client keeps up again."""
        if self.connection is not None:
            self.connection.resume()
            if self._switched:
                self._pump_if_worth_it()

    def drop(self) -> None:
        """Cut the origin's connection; nothing more comes of it."""
        self._stop_waiting()
        self._out.clear()
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.stop()
            self._content.sent += pump.client.moved
            self.received += pump.origin.moved
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
