"""The two streams of an exchange: their flow control, and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from egress.model.errors import EgressError, OriginDisconnected
from egress.proxy.interfaces import ForwarderOwner, IClientStream
from egress.proxy.lease import Lease
from egress.proxy.request_body import RequestBody
from egress.relay.socket_relay import TAKEOVER_BYTES, SocketEnd, SocketRelay, relay_between
from egress.upstream.interfaces import IOriginStream

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext


class ExchangeFlow:
    """Pauses each direction of an exchange while its receiver is slow, and both while a byte budget waits.

    A subclass sets the attributes, and forwards.

    @ivar received: content bytes of the response.
    """

    received: int
    _client: IClientStream
    _content: RequestBody
    _context: ProxyContext
    _continue_timer: IDelayedCall | None
    _ended: bool
    _held: bool
    _lease: Lease | None
    _origin: IOriginStream | None
    _owner: ForwarderOwner
    _request_paused: bool
    _response_paused: bool
    _response_timeout: float | None
    _settled: bool
    _socket_relay: SocketRelay | None
    _switched: bool

    # -- limits

    def _watch(self) -> None:
        self._client.watch(self._context.limits.tunnel_timeout if self._switched else self._response_timeout)

    def _may_flow(self, size: int) -> bool:
        """Whether the decision allows more bytes. If not, the owner has ended the exchange."""
        return self._lease is None or self._lease.consume(size)

    # -- request

    @property
    def wants_body(self) -> bool:
        """Whether the origin can take more content now."""
        return self._takes_content()

    def _takes_content(self) -> bool:
        return not (self._request_paused or self._held)

    def _stop_waiting(self) -> bool:
        timer, self._continue_timer = self._continue_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        return timer is not None

    def pause_request(self) -> None:
        """See L{IResponseSink}."""
        self._request_paused = True
        if self._switched:
            self._client.pause()

    def resume_request(self) -> None:
        """See L{IResponseSink}."""
        if self._request_paused and self._continue_timer is None:
            self._request_paused = False
            self._read_client()
            if self._switched:
                self._use_socket_relay()

    def _read_client(self) -> None:
        """Read from the client again, unless there is another reason not to."""
        if self._request_paused or self._held:
            return
        if self._switched:
            self._client.resume()
        else:
            self._client.read_content()

    # -- response

    def pause_response(self) -> None:
        """Pause the response: the client reads too slowly."""
        self._response_paused = True
        if self._origin is not None:
            self._origin.pause()

    def resume_response(self) -> None:
        """Resume the response: the client reads again."""
        self._response_paused = False
        self._read_origin()
        if self._switched:
            self._use_socket_relay()

    def _read_origin(self) -> None:
        """Read from the origin again, unless there is another reason not to."""
        if self._origin is not None and not (self._response_paused or self._held):
            self._origin.resume()

    # -- the wait of a budget

    def hold(self) -> None:
        """See L{egress.relay.budget.Transfer.hold}."""
        self._held = True
        if self._socket_relay is not None:
            self._socket_relay.hold()
            return
        if self._origin is not None:
            self._origin.pause()
        if self._switched:
            self._client.pause()

    def release(self) -> None:
        """See L{egress.relay.budget.Transfer.release}."""
        self._held = False
        if self._socket_relay is not None:
            self._socket_relay.release()
            return
        self._read_client()
        self._read_origin()

    # -- a large transfer after an upgrade

    def _use_socket_relay(self) -> None:
        """Move a large transfer to a socket relay, as L{egress.relay.relay} does. Not possible with TLS."""
        origin = self._origin
        if self._socket_relay is not None or origin is None or not self._settled or self._ended or self._held:
            return
        if self.received + self._content.sent < TAKEOVER_BYTES:
            return
        transports = self._client.transport, origin.transport
        self._socket_relay = relay_between(
            *transports, self._context.flows, self._watch, self._socket_relay_ended, budget=self._lease
        )

    def _socket_relay_ended(self, broken: SocketEnd | None) -> None:
        """Handle the end of the socket relay."""
        socket_relay, origin = self._socket_relay, self._origin
        assert socket_relay is not None and origin is not None
        if broken is socket_relay.client:
            # The loss of the client connection drops the origin connection.
            self._client.reset()
            return
        if broken is None:
            # The last data to the origin may still be in transit.
            self._origin = None
            origin.close()
        self._fail(OriginDisconnected(f"{origin.route.origin.authority} closed the connection"))

    # -- end

    def _fail(self, error: EgressError) -> None:
        self.drop()
        self._owner.forwarding_failed(error, untouched=False)

    def drop(self) -> None:
        """Abort the origin stream and stop forwarding."""
        self._stop_waiting()
        socket_relay, self._socket_relay = self._socket_relay, None
        if socket_relay is not None:
            socket_relay.stop()
            self._content.sent += socket_relay.client.moved
            self.received += socket_relay.origin.moved
        origin, self._origin = self._origin, None
        if origin is not None:
            origin.abort()
