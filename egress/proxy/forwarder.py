"""The forwarding of one allowed request between a client stream and an origin stream, with backpressure in both
directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from zope.interface import classImplements

from egress.http.connect_handshake import error_of_challenge
from egress.http.events import HTTP_1_0, ForwardedHead, ResponseHead
from egress.http.hop_by_hop import fields_size
from egress.http.writers import interim_size
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError
from egress.model.phases import RECEIVE, RELAY, SEND, WAIT
from egress.proxy.exchange_flow import ExchangeFlow
from egress.proxy.grpc_streams import response_timeout
from egress.proxy.interfaces import ForwarderOwner, IClientStream
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.request_body import RequestBody
from egress.proxy.transaction import Transaction
from egress.upstream.interfaces import IOriginStream, IResponseSink

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.upstream.origin_connection import OriginConnection

# The time without a response after which an origin gets the content despite C{Expect: 100-continue}. RFC 9110 section
# 10.1.1 leaves it to the client; common clients use this value.
CONTINUE_SECONDS: Final = 1.0
# The maximum number of interim responses (1xx) to one request. Their total size is limited like one head. They do not
# extend the response timeout, so that with the default timeout an origin can send one every three seconds.
MAX_INTERIM_RESPONSES: Final = 100


class Forwarder(ExchangeFlow):
    """Forwards one request and its response. It is the sink of its origin stream.

    @param transaction: the transaction of the exchange, whose request is allowed.

    @ivar status: the status code of the response, once its head was sent to the client.
    @ivar received: content bytes of the response.
    @ivar headers: the header fields of the response.
    @ivar trailers: the trailers of the response.
    """

    def __init__(
        self,
        owner: ForwarderOwner,
        context: ProxyContext,
        transaction: Transaction,
        *,
        client: IClientStream,
        origin: IOriginStream,
        request: OutgoingRequest,
        content: RequestBody,
    ) -> None:
        self.status: int | None = None
        self.received = 0
        self.headers: Headers = ()
        self.trailers: Headers = ()
        self._origin = origin
        self._owner = owner
        self._client = client
        self._context = context
        self._transaction = transaction
        self._request = request
        self._head = request.head
        self._upgrade = request.upgrade
        self._content = content
        self._lease = lease = transaction.lease
        if lease is not None:
            lease.transfer = self
        self._response_timeout = response_timeout(request.head, context.limits)
        self._request_paused = self._response_paused = self._held = False
        self._continue_timer = None
        self._switched = False
        self._ended = False
        self._settled = False
        self._socket_relay = None
        self._interims = 0
        self._interim_bytes = 0

    # -- request

    def begin(self, head: ForwardedHead) -> None:
        """Send the head and the collected content. With C{Expect: 100-continue}, the content waits for the origin's
        consent.
        """
        origin = self._origin
        assert origin is not None
        self._watch()
        self._transaction.begin_phase(WAIT if self._content.over else SEND)
        content, end = b"", None
        if self._head.expects_continue and self._content.collected:
            self._request_paused = True
            self._continue_timer = self._context.clock.callLater(CONTINUE_SECONDS, self._send_collected)
        else:
            content, end = self._content.send_collected()
        origin.send_request(self, head, content, end)
        if not self._content.over:
            self._client.read_content()

    def _send_collected(self) -> None:
        """Send the collected content: the origin sent a 100, or the wait timed out."""
        if self._stop_waiting() and self._origin is not None:
            self._request_paused = False
            self._origin.send_content(*self._content.send_collected())
            self._client.read_content()

    def body_data(self, data: bytes) -> None:
        """Forward content."""
        if self._origin is not None and self._may_flow(len(data)):
            self._watch()
            self._content.stream(data)
            self._origin.send_content(data)

    def body_end(self) -> None:
        """Forward the end of the content."""
        self._send_end()

    def _send_end(self) -> None:
        if self._may_flow(self._content.trailer_size) and self._origin is not None:
            if self.status is None:
                self._transaction.begin_phase(WAIT)
            self._origin.send_content(b"", self._content.end)

    # -- response

    def response_head(self, head: ResponseHead) -> None:
        """See L{IResponseSink}."""
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
        size = interim_size(head)
        self._interims += 1
        self._interim_bytes += size
        if self._interims > MAX_INTERIM_RESPONSES or self._interim_bytes > self._context.limits.head:
            self._fail(OriginProtocolError("the origin sent too many interim responses"))
        elif head.status == 100 and self._continue_timer is not None:
            self._send_collected()
        elif self._may_interim(head.status) and self._may_flow(size):
            self._client.send_interim(head)

    def _may_interim(self, status: int) -> bool:
        """Whether the client gets an interim response: HTTP/1.0 has none, and a 100 needs a client that waits for it
        (RFC 9110 section 15.2).
        """
        if self._head.version == HTTP_1_0:
            return False
        return status != 100 or (self._head.expects_continue and not self._content.collected)

    def _is_late(self, head: ResponseHead) -> bool:
        """Handle a 408 that is about an idle connection, not about this request.

        RFC 9110 section 15.5.9: the request may be repeated on a new connection. While content is still to be sent, the
        408 may be about this request.
        """
        origin, content = self._origin, self._content
        assert origin is not None
        if not origin.reused or head.keep_alive or not content.over:
            return False
        self.drop()
        authority = origin.route.origin.authority
        error = OriginDisconnected(f"{authority} closed its idle connection with 408 while the request was in transit")
        # Another connection is not authenticated.
        unread = not (content.streamed or origin.logged_in)
        self._owner.forwarding_failed(error, untouched=False, unread=unread)
        return True

    def _begin_response(self, head: ResponseHead) -> None:
        origin = self._origin
        assert origin is not None
        if head.status == 407:
            # The client must not respond to a challenge that is not of this proxy.
            self._fail(error_of_challenge(origin.route, head.reason))
            return
        if self._lease is not None and not self._lease.announce(head.framing.length):
            # No response is better than a partial one.
            return
        self._stop_waiting()
        self._transaction.begin_phase(RECEIVE)
        self.status, self.headers = head.status, head.headers
        # A response before the end of the request closes the client connection: the client may never send the rest of
        # the content (RFC 9112 section 9.3). An authentication ends with the origin connection, and closing the client
        # connection signals this.
        last = not self._content.over or (origin.logged_in and not head.keep_alive)
        self._client.send_head(head, last=last)

    def response_data(self, data: bytes) -> None:
        """See L{IResponseSink}."""
        if self._lease is not None and not self._lease.consume(len(data)):
            return
        self.received += len(data)
        self._watch()
        self._client.send_data(data)

    def response_flush(self) -> None:
        """See L{IResponseSink}."""
        self._client.flush()

    def response_end(self, trailers: Headers) -> None:
        """See L{IResponseSink}."""
        self._end_response(trailers)

    def _end_response(self, trailers: Headers) -> None:
        if trailers and not self._may_flow(fields_size(trailers)):
            return
        self.trailers = trailers
        self._client.send_end(trailers)
        self._client.flush()
        origin, self._origin = self._origin, None
        assert origin is not None
        if origin.reusable:
            # Only connections of HTTP/1 are reusable.
            self._client.logins.keep(self._request.key, cast("OriginConnection", origin))
        else:
            origin.close()
        self._owner.forwarded()

    def response_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """See L{IResponseSink}."""
        self._origin = None
        self._stop_waiting()
        self._owner.forwarding_failed(error, untouched=untouched, unread=unread and not self._content.streamed)

    # -- after an upgrade

    def _switch(self, head: ResponseHead) -> None:
        # Accept only the protocol that was requested and authorized; another one would bypass decisions.
        upgrade = self._upgrade
        if upgrade is None:
            self._fail(OriginProtocolError("the origin switched to a protocol that the client did not request"))
            return
        fault = upgrade.validate(head)
        if fault is None and (not self._content.over or self._continue_timer is not None):
            # RFC 9110 section 7.8: the response in the new protocol is a response to the whole request.
            fault = "the origin switched to another protocol before it received the whole request"
        if fault is not None:
            self._fail(OriginProtocolError(fault))
            return
        self._switched = True
        self._transaction.begin_phase(RELAY)
        self.status, self.headers = head.status, head.headers
        self._client.switch(head, upgrade)
        self._watch()
        self._owner.upgraded()
        # Until this turn of the reactor ends, transports may still be resumed.
        self._context.clock.callLater(0, self._settle)

    def _settle(self) -> None:
        self._settled = True

    def response_switched(self, data: bytes) -> None:
        """See L{IResponseSink}."""
        if self._lease is not None and not self._lease.consume(len(data)):
            return
        self.received += len(data)
        self._watch()
        self._client.send_data(data)
        self._client.flush()
        self._use_socket_relay()

    def switched_data(self, data: bytes) -> None:
        """Relay client data after an upgrade."""
        if self._origin is not None and self._may_flow(len(data)):
            self._content.sent += len(data)
            self._watch()
            self._origin.send_content(data)
            self._use_socket_relay()

    def switched_end(self) -> bool:
        """Handle the end of the client's data after an upgrade.

        @return: whether the end was passed to the origin, which may still send. A WebSocket ends in both directions
            simultaneously.
        """
        upgrade, origin = self._upgrade, self._origin
        if upgrade is None or upgrade.is_websocket or origin is None or not origin.end_writing():
            return False
        self._ended = True
        return True

    # -- end

    def end_messages(self, error: EgressError) -> bool:
        """End a response as the protocol of its messages does, if the proxy reads them.

        @return: whether this has ended the exchange.
        """
        return False


# The decorator C{implementer} would make it an interpreted class.
classImplements(Forwarder, IResponseSink)
