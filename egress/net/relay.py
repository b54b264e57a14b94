"""Relaying bytes that the proxy does not read: passthrough tunnels."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.net.dial import DialedProtocol


@implementer(IPushProducer, IHalfCloseableProtocol)
class _FarEnd(DialedProtocol):
    """The origin's side of a relay."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.closed = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._relay.far_data(data)

    def readConnectionLost(self) -> None:
        self._relay.far_end()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.closed = True
        self._relay.far_lost()

    def pauseProducing(self) -> None:
        self._relay.pause_near()

    def resumeProducing(self) -> None:
        self._relay.resume_near()

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


class Relay:
    """Both directions between a client's transport and an origin's, each held back when its receiver is slow.

    @ivar far: the protocol to dial with.
    @ivar sent: bytes from the client to the origin.
    @ivar received: bytes from the origin to the client.
    """

    def __init__(self, near: ITCPTransport, active: Callable[[], None], over: Callable[[], None]) -> None:
        self.sent = 0
        self.received = 0
        self.far = _FarEnd(self)
        self._near = near
        self._active = active
        self._over: Callable[[], None] | None = over
        self._near_ended = False
        self._far_ended = False
        self._begun = False
        self._early = b""

    def begin(self, early: bytes) -> None:
        """Relay from now on.

        @param early: what the client sent before the origin was connected.
        """
        self._begun = True
        if early:
            self.near_data(early)
        held, self._early = self._early, b""
        if held:
            self.far_data(held)

    def near_data(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.sent += len(data)
        self._active()
        self.far.transport.write(data)  # type: ignore[union-attr]

    def far_data(self, data: bytes) -> None:
        """Take bytes from the origin."""
        if not self._begun:
            self._early += data
            return
        self.received += len(data)
        self._active()
        self._near.write(data)

    def near_end(self) -> None:
        """The client sends no more."""
        self._near_ended = True
        if self.far.closed:
            return
        if self._far_ended:
            self._close_far()
        else:
            _end_writing(self.far.transport)

    def far_end(self) -> None:
        """The origin sends no more."""
        self._far_ended = True
        if self._near_ended:
            self._close_far()
        else:
            _end_writing(self._near)

    def _close_far(self) -> None:
        """Both have ended: what is still to be sent to the origin goes out, then L{far_lost} follows."""
        self.far.transport.unregisterProducer()  # type: ignore[union-attr]
        self.far.transport.loseConnection()  # type: ignore[union-attr]

    def far_lost(self) -> None:
        """The origin's connection is gone."""
        self._finish()

    def drop(self) -> None:
        """The client's connection is gone."""
        self._over = None
        if not self.far.closed and self.far.transport is not None:
            self.far.transport.abortConnection()  # type: ignore[attr-defined]

    def _finish(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()

    def pause_near(self) -> None:
        """The origin does not keep up."""
        self._near.pauseProducing()  # type: ignore[attr-defined]

    def resume_near(self) -> None:
        """The origin keeps up again."""
        if not self._near_ended:
            self._near.resumeProducing()  # type: ignore[attr-defined]

    def pause_far(self) -> None:
        """The client does not keep up."""
        if not self.far.closed:
            self.far.transport.pauseProducing()  # type: ignore[union-attr]

    def resume_far(self) -> None:
        """The client keeps up again."""
        if not self.far.closed and not self._far_ended:
            self.far.transport.resumeProducing()  # type: ignore[union-attr]
