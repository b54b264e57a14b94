"""The relay of a passthrough tunnel, whose bytes the proxy does not interpret.

A tunnel starts with its Twisted transports, which is cheap and best for small transfers. A tunnel that carries much
data switches to a L{egress.relay.socket_relay} as soon as neither transport has data left to send.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.relay.budget import ByteBudget
from egress.relay.buffered import Flows
from egress.relay.socket_relay import TAKEOVER_BYTES, SocketEnd, SocketRelay, relay_between
from egress.transport.dialed import DialedProtocol
from egress.transport.tls_layer import TLS_LAYERS


class _OriginEnd(DialedProtocol):
    """The origin side of a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.closed = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._relay.origin_data(data)

    def readConnectionLost(self) -> None:
        self._relay.origin_end()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.closed = True
        # The end of a TLS session with an upstream proxy is no reliable signal: many send no closing alert.
        broken = ITCPTransport.providedBy(self.transport) and not isinstance(self.transport, TLS_LAYERS)
        self._relay.origin_lost(broken and not isinstance(reason.value, ConnectionDone))

    def pauseProducing(self) -> None:
        self._relay.pause_client()

    def resumeProducing(self) -> None:
        self._relay.resume_client()

    def stopProducing(self) -> None:
        pass


# Not as a decorator, which would prevent the compilation of the class.
classImplements(_OriginEnd, IPushProducer, IHalfCloseableProtocol)


def _end_writing(transport: object) -> None:
    """Pass on the end of one direction, if the transport can close one direction."""
    # A TLS layer provides the interfaces of the transport below it, but sends a closing alert and continues to read.
    if ITCPTransport.providedBy(transport) and not isinstance(transport, TLS_LAYERS):
        transport.unregisterProducer()  # type: ignore[attr-defined]
        transport.loseWriteConnection()
    else:
        transport.unregisterProducer()  # type: ignore[attr-defined]
        transport.loseConnection()  # type: ignore[attr-defined]


class RelayOwner(Protocol):
    """The interface of the object that is notified of the relay's progress."""

    def relay_active(self) -> None:
        """Bytes were relayed."""

    def relay_over(self, *, broken: bool) -> None:
        """The relay has ended. Not called if the client connection was lost.

        @param broken: whether the client must not treat the received data as complete.
        """


class Relay:
    """Relays both directions between a client transport and an origin transport, with backpressure.

    @param budget: the byte limit, if there is one.
    @ivar origin: the protocol for the origin connection.
    @ivar takeover_bytes: the bytes in both directions before a socket relay takes over.
    """

    __slots__ = (
        "_budget",
        "_buffered",
        "_client",
        "_client_ended",
        "_client_paused",
        "_flows",
        "_held",
        "_origin_ended",
        "_origin_paused",
        "_owner",
        "_received",
        "_sent",
        "_socket_relay",
        "_started",
        "origin",
        "takeover_bytes",
    )

    def __init__(
        self, owner: RelayOwner, client: ITCPTransport, flows: Flows, budget: ByteBudget | None = None
    ) -> None:
        self.origin = _OriginEnd(self)
        self.takeover_bytes = TAKEOVER_BYTES
        self._sent = 0
        self._received = 0
        self._client = client
        self._flows = flows
        self._budget = budget
        self._owner: RelayOwner | None = owner
        self._client_ended = False
        self._origin_ended = False
        self._client_paused = self._origin_paused = self._held = False
        if budget is not None:
            budget.transfer = self
        self._started = False
        self._buffered = b""
        self._socket_relay: SocketRelay | None = None

    @property
    def sent(self) -> int:
        """Bytes from the client to the origin."""
        return self._sent + (self._socket_relay.client.moved if self._socket_relay is not None else 0)

    @property
    def received(self) -> int:
        """Bytes from the origin to the client."""
        return self._received + (self._socket_relay.origin.moved if self._socket_relay is not None else 0)

    def begin(self, client_data: bytes) -> None:
        """Start to relay.

        @param client_data: the data that the client sent before the origin was connected.
        """
        origin_data, self._buffered = self._buffered, b""
        self._started = True
        if (not client_data or self._pass_to_origin(client_data)) and origin_data:
            self._pass_to_client(origin_data)

    def client_data(self, data: bytes) -> None:
        """Relay data from the client."""
        if self._pass_to_origin(data):
            self._use_socket_relay()

    def origin_data(self, data: bytes) -> None:
        """Relay data from the origin."""
        if not self._started:
            self._buffered += data
            return
        if self._pass_to_client(data):
            self._use_socket_relay()

    def _pass_to_origin(self, data: bytes) -> bool:
        if self._budget is not None and not self._budget.consume(len(data)):
            return False
        self._sent += len(data)
        self._active()
        self.origin.transport.write(data)
        return True

    def _pass_to_client(self, data: bytes) -> bool:
        if self._budget is not None and not self._budget.consume(len(data)):
            return False
        self._received += len(data)
        self._active()
        self._client.write(data)
        return True

    # -- large transfers

    def _use_socket_relay(self) -> None:
        if self._sent + self._received < self.takeover_bytes or self._socket_relay is not None or self._held:
            return
        # A half-closed relay keeps its transports, because a transport does not report that it has sent its end.
        if self._client_ended or self._origin_ended or self.origin.closed:
            return
        self._socket_relay = relay_between(
            self._client,
            self.origin.transport,
            self._flows,
            self._active,
            self._socket_relay_ended,
            budget=self._budget,
        )

    def _active(self) -> None:
        if self._owner is not None:
            self._owner.relay_active()

    def _socket_relay_ended(self, broken: SocketEnd | None) -> None:
        """Handle the end of the socket relay."""
        socket_relay = self._socket_relay
        assert socket_relay is not None
        self._client_ended, self._origin_ended = socket_relay.client.ended, socket_relay.origin.ended
        if broken is None:
            self._close_origin()
        elif broken is socket_relay.client:
            # The loss of the client connection drops the origin connection.
            self._client.abortConnection()
        else:
            self.origin.transport.abortConnection()

    # -- end

    def client_end(self) -> None:
        """Handle the end of the client's data."""
        self._client_ended = True
        if self.origin.closed:
            return
        if self._origin_ended:
            self._close_origin()
        else:
            _end_writing(self.origin.transport)

    def origin_end(self) -> None:
        """Handle the end of the origin's data."""
        self._origin_ended = True
        if self._client_ended:
            self._close_origin()
        else:
            _end_writing(self._client)

    def _close_origin(self) -> None:
        """Both directions have ended: send the remaining data to the origin; then L{origin_lost} follows."""
        self.origin.transport.unregisterProducer()
        self.origin.transport.loseConnection()

    def origin_lost(self, broken: bool) -> None:
        """Handle the loss of the origin connection.

        @param broken: whether neither side closed it. This is ignored if the origin's data was complete.
        """
        self.stop()
        owner, self._owner = self._owner, None
        if owner is not None:
            if self._held:
                # The owner waits for the end of the client's data.
                self._held = False
                self._read_client()
            owner.relay_over(broken=broken and not self._origin_ended)

    def drop(self) -> None:
        """Handle the loss of the client connection."""
        self._owner = None
        self.stop()
        if not self.origin.closed and self.origin.transport is not None:
            self.origin.transport.abortConnection()

    def stop(self) -> None:
        """Stop the socket relay: the transports control their sockets again."""
        if self._socket_relay is not None:
            self._socket_relay.stop()

    # -- backpressure while the transports relay

    def pause_client(self) -> None:
        """Pause the client: the origin reads too slowly."""
        self._client_paused = True
        self._client.pauseProducing()  # type: ignore[attr-defined]

    def resume_client(self) -> None:
        """Resume the client: the origin reads again."""
        self._client_paused = False
        self._read_client()
        self._use_socket_relay()

    def _read_client(self) -> None:
        if not (self._client_ended or self._client_paused or self._held):
            self._client.resumeProducing()  # type: ignore[attr-defined]

    def pause_origin(self) -> None:
        """Pause the origin: the client reads too slowly."""
        self._origin_paused = True
        if not self.origin.closed:
            self.origin.transport.pauseProducing()

    def resume_origin(self) -> None:
        """Resume the origin: the client reads again."""
        self._origin_paused = False
        self._read_origin()
        self._use_socket_relay()

    def _read_origin(self) -> None:
        if not (self.origin.closed or self._origin_ended or self._origin_paused or self._held):
            self.origin.transport.resumeProducing()

    # -- the wait of a budget

    def hold(self) -> None:
        """See L{egress.relay.budget.Transfer.hold}."""
        self._held = True
        if self._socket_relay is not None:
            self._socket_relay.hold()
            return
        if not self._client_ended:
            self._client.pauseProducing()  # type: ignore[attr-defined]
        if not (self.origin.closed or self._origin_ended):
            self.origin.transport.pauseProducing()

    def release(self) -> None:
        """See L{egress.relay.budget.Transfer.release}."""
        self._held = False
        if self._socket_relay is not None:
            self._socket_relay.release()
            return
        self._read_client()
        self._read_origin()
        self._use_socket_relay()
