"""A TCP transport in memory, whose other side a test controls."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()


@implementer(ITCPTransport, IPushProducer, IConsumer)
class MemoryTransport:
    """One end of a TCP connection, with the relevant behavior of Twisted's transports.

    A lost connection is reported in a later turn of the clock, closing waits for a paused producer, and no data is
    delivered while reading is paused.

    @ivar written: the data that the protocol wrote and L{take} has not returned.
    @ivar socket: represents the connection, in tests about data that the reactor has not read yet.
    @ivar polite: whether the other side closes its direction when it sees the end of this one, as clients do.
    @ivar high_water: the number of bytes buffered before the producer is paused; C{None} if all data is sent
        immediately.
    """

    def __init__(self, clock: IReactorTime, peer: IPv4Address | None = None) -> None:
        self.written = b""
        self.disconnecting = False
        self.disconnected = False
        self.aborted = False
        self.write_closed = False
        self.no_delay = False
        self.paused = False
        self.pauses = 0
        self.polite = True
        self.producer: Any = None
        self.producer_paused = False
        self.high_water: int | None = None
        self.protocol: Any = None
        self.socket: Any = None
        self._clock = clock
        self._peer = peer or IPv4Address("TCP", "198.51.100.7", 40000)
        self._waiting: list[bytes] = []
        self._eof = False
        self._unsent = 0

    def connect(self, protocol: Any) -> MemoryTransport:
        """Attach the protocol."""
        self.protocol = protocol
        protocol.makeConnection(self)
        return self

    # -- actions of the other side

    def feed(self, data: bytes) -> MemoryTransport:
        """Send data from the other side."""
        self._waiting.append(data)
        self._deliver()
        self._clock.advance(0)  # type: ignore[attr-defined]
        return self

    def end(self) -> None:
        """Close the other side's direction."""
        self._eof = True
        self._deliver()
        self._clock.advance(0)  # type: ignore[attr-defined]

    def lose(self, reason: Exception | None = None) -> None:
        """Break the connection."""
        self._lost(reason or ConnectionDone())

    @property
    def undelivered(self) -> int:
        """The bytes that wait until the protocol resumes reading."""
        return sum(map(len, self._waiting))

    def take(self) -> bytes:
        """Return the data that the protocol wrote."""
        data, self.written = self.written, b""
        return data

    def choke(self) -> None:
        """Stop reading on the other side: the buffer is over its limit."""
        self.producer_paused = True
        self._unsent = max(1, self._unsent)
        self.producer.pauseProducing()

    def unchoke(self) -> None:
        """Read all data on the other side."""
        self._unsent = 0
        if self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()
        self._close_if_due()
        if self.write_closed:
            self._write_lost()
        self._clock.advance(0)  # type: ignore[attr-defined]

    def _deliver(self) -> None:
        while self._waiting and self._reading:
            # As in Twisted: an exception out of dataReceived ends the connection.
            try:
                self.protocol.dataReceived(self._waiting.pop(0))
            except Exception as error:  # noqa: BLE001 - as in Twisted
                _log.failure("dataReceived raised")
                self._lost(error)
        if self._eof and self._reading and not self._waiting:
            self._eof = False
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
            else:
                self._lost(ConnectionDone())

    @property
    def _reading(self) -> bool:
        return not (self.paused or self.disconnected or self.disconnecting)

    def _lost(self, reason: Exception) -> None:
        if not self.disconnected:
            self.disconnected = True
            if self.producer is not None:
                self.producer.stopProducing()
                self.producer = None
            self.protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    # -- ITransport

    def write(self, data: bytes) -> None:
        """Send data; see C{ITransport.write}."""
        if not isinstance(data, bytes):
            raise TypeError("not bytes")
        if self.disconnected or self.write_closed:
            return
        self.written += data
        if self.high_water is not None:
            self._unsent += len(data)
            if self._unsent > self.high_water and self.producer is not None and not self.producer_paused:
                self.choke()

    def writeSequence(self, data: Any) -> None:
        """Send data; see C{ITransport.writeSequence}."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection when all data is sent; see C{ITransport.loseConnection}."""
        if not self.disconnecting:
            self.disconnecting = True
            self._close_if_due()

    def _close_if_due(self) -> None:
        if self.disconnecting and not self.producer_paused and not self._unsent:
            self._clock.callLater(0, self._lost, ConnectionDone())

    def abortConnection(self) -> None:
        """Close the connection immediately; see C{ITCPTransport.abortConnection}."""
        if not self.disconnected and not self.aborted:
            self.aborted = self.disconnecting = True
            self._clock.callLater(0, self._lost, ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """Close this direction; see C{IHalfCloseableDescriptor}."""
        self.write_closed = True
        self._clock.callLater(0, self._write_lost)

    def _write_lost(self) -> None:
        if self._unsent or self.disconnected:
            return
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()
            if self.polite and not self._waiting:
                self._eof = True
                self._deliver()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See C{ITCPTransport.setTcpNoDelay}."""
        self.no_delay = enabled

    def getTcpNoDelay(self) -> bool:
        """See C{ITCPTransport.getTcpNoDelay}."""
        return self.no_delay

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See C{ITCPTransport.setTcpKeepAlive}; not implemented."""
        raise NotImplementedError

    def getTcpKeepAlive(self) -> bool:
        """See C{ITCPTransport.getTcpKeepAlive}; not implemented."""
        raise NotImplementedError

    def getPeer(self) -> IPv4Address:
        """Return the address of the other side."""
        return self._peer

    def getHost(self) -> IPv4Address:
        """Return the address of this side."""
        return IPv4Address("TCP", "192.0.2.200", 8080)

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See C{IConsumer.registerProducer}."""
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        self.producer = producer

    def unregisterProducer(self) -> None:
        """See C{IConsumer.unregisterProducer}."""
        self.producer = None
        self.producer_paused = False
        self._close_if_due()

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Stop reading; see C{IPushProducer.pauseProducing}."""
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        """Continue to read; see C{IPushProducer.resumeProducing}."""
        self.paused = False
        if self._waiting or self._eof:
            self._clock.callLater(0, self._deliver)

    def stopProducing(self) -> None:
        """Close the connection; see C{IPushProducer.stopProducing}."""
        self.loseConnection()
