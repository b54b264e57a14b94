"""Relaying bytes that the proxy does not read: passthrough tunnels.

A tunnel begins with the transports it has, which costs nothing and is best for little.  One that carries much gets a
L{egress.relay.socket_relay}, as soon as neither transport has anything left to send.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.relay.budget import ByteBudget
from egress.relay.buffered import Flows
from egress.relay.socket_relay import TAKEOVER_BYTES, SocketEnd, SocketRelay, relay_between
from egress.transport.dialed import DialedProtocol


@implementer(IPushProducer, IHalfCloseableProtocol)
class _OriginEnd(DialedProtocol):
    """The origin's side of a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.closed = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
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
        # How a TLS session with an upstream proxy ends says little: many leave out the closing alert.
        broken = ITCPTransport.providedBy(self.transport) and not isinstance(self.transport, TLSMemoryBIOProtocol)
        self._relay.origin_lost(broken and not isinstance(reason.value, ConnectionDone))

    def pauseProducing(self) -> None:
        self._relay.pause_client()

    def resumeProducing(self) -> None:
        self._relay.resume_client()

    def stopProducing(self) -> None:
        pass


def _end_writing(transport: object) -> None:
    """Pass an end of one direction on, where the transport can close one alone."""
    # A TLS layer claims what is below it, but its end is an alert, after which it goes on reading.
    if ITCPTransport.providedBy(transport) and not isinstance(transport, TLSMemoryBIOProtocol):
        transport.unregisterProducer()  # type: ignore[attr-defined]
        transport.loseWriteConnection()
    else:
        transport.unregisterProducer()  # type: ignore[attr-defined]
        transport.loseConnection()  # type: ignore[attr-defined]


class RelayOwner(Protocol):
    """Who is told how the relay goes."""

    def relay_active(self) -> None:
        """Bytes were passed on."""

    def relay_over(self, *, broken: bool) -> None:
        """The end; not told when it is that of the client's connection.

        @param broken: the client must not take what it has for the whole.
        """


class Relay:
    """Both directions between a client's transport and an origin's, each held back when its receiver is slow.

    @param budget: says how much may flow, where there is a bound.
    @ivar far: the protocol to dial with.
    """

    __slots__ = (
        "_begun",
        "_budget",
        "_client",
        "_early",
        "_far_ended",
        "_flows",
        "_near_ended",
        "_owner",
        "_pump",
        "_received",
        "_sent",
        "origin",
    )

    def __init__(self, owner: RelayOwner, near: ITCPTransport, flows: Flows, budget: ByteBudget | None = None) -> None:
        self.origin = _OriginEnd(self)
        self._sent = 0
        self._received = 0
        self._client = near
        self._flows = flows
        self._budget = budget
        self._owner: RelayOwner | None = owner
        self._near_ended = False
        self._far_ended = False
        self._begun = False
        self._early = b""
        self._pump: SocketRelay | None = None

    @property
    def sent(self) -> int:
        """Bytes from the client to the origin."""
        return self._sent + (self._pump.client.moved if self._pump is not None else 0)

    @property
    def received(self) -> int:
        """Bytes from the origin to the client."""
        return self._received + (self._pump.origin.moved if self._pump is not None else 0)

    def begin(self, early: bytes) -> None:
        """Relay from now on.

        @param early: what the client sent before the origin was connected.
        """
        held, self._early = self._early, b""
        self._begun = True
        if (not early or self._pass_to_origin(early)) and held:
            self._pass_to_client(held)

    def client_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._pass_to_origin(data):
            self._pump_if_worth_it()

    def origin_data(self, data: bytes) -> None:
        """Take bytes from the origin."""
        if not self._begun:
            self._early += data
            return
        if self._pass_to_client(data):
            self._pump_if_worth_it()

    def _pass_to_origin(self, data: bytes) -> bool:
        if self._budget is not None and not self._budget.consume(len(data)):
            return False
        self._sent += len(data)
        self._active()
        self.origin.transport.write(data)  # type: ignore[union-attr]
        return True

    def _pass_to_client(self, data: bytes) -> bool:
        if self._budget is not None and not self._budget.consume(len(data)):
            return False
        self._received += len(data)
        self._active()
        self._client.write(data)
        return True

    # -- in the large

    def _pump_if_worth_it(self) -> None:
        if self._sent + self._received < TAKEOVER_BYTES or self._pump is not None:
            return
        # What is half closed already stays as it is: a transport tells nobody when it has sent its end.
        if self._near_ended or self._far_ended or self.origin.closed:
            return
        self._pump = relay_between(
            self._client, self.origin.transport, self._flows, self._active, self._pumped, self._budget
        )

    def _active(self) -> None:
        if self._owner is not None:
            self._owner.relay_active()

    def _pumped(self, broken: SocketEnd | None) -> None:
        """The pump has come to an end."""
        pump = self._pump
        assert pump is not None
        self._near_ended, self._far_ended = pump.client.ended, pump.origin.ended
        if broken is None:
            self._close_origin()
        elif broken is pump.client:
            # Its loss drops the other.
            self._client.abortConnection()
        else:
            self.origin.transport.abortConnection()  # type: ignore[union-attr]

    # -- ends

    def client_end(self) -> None:
        """The client sends no more."""
        self._near_ended = True
        if self.origin.closed:
            return
        if self._far_ended:
            self._close_origin()
        else:
            _end_writing(self.origin.transport)

    def origin_end(self) -> None:
        """The origin sends no more."""
        self._far_ended = True
        if self._near_ended:
            self._close_origin()
        else:
            _end_writing(self._client)

    def _close_origin(self) -> None:
        """Both have ended: what is still to be sent to the origin goes out, then L{far_lost} follows."""
        self.origin.transport.unregisterProducer()  # type: ignore[union-attr]
        self.origin.transport.loseConnection()  # type: ignore[union-attr]

    def origin_lost(self, broken: bool) -> None:
        """The origin's connection is gone.

        @param broken: not closed by either side; that is of no interest if everything had come by then.
        """
        self.stop()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.relay_over(broken=broken and not self._far_ended)

    def drop(self) -> None:
        """The client's connection is gone."""
        self._owner = None
        self.stop()
        if not self.origin.closed and self.origin.transport is not None:
            self.origin.transport.abortConnection()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Pass on nothing more by itself: what is closed next belongs to the transports again."""
        if self._pump is not None:
            self._pump.stop()

    # -- pace, while the transports do it

    def pause_client(self) -> None:
        """The origin does not keep up."""
        self._client.pauseProducing()  # type: ignore[attr-defined]

    def resume_client(self) -> None:
        """The origin keeps up again."""
        if not self._near_ended:
            self._client.resumeProducing()  # type: ignore[attr-defined]
            self._pump_if_worth_it()

    def pause_origin(self) -> None:
        """The client does not keep up."""
        if not self.origin.closed:
            self.origin.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_origin(self) -> None:
        """The client keeps up again."""
        if not self.origin.closed and not self._far_ended:
            self.origin.transport.resumeProducing()  # type: ignore[union-attr]
            self._pump_if_worth_it()
