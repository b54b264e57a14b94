"""The TLS layers of client and origin connections, optimized versions of Twisted's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.limit_key import limit_key
from egress.transport.fair_turns import Pace, RoundRobin

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IOpenSSLClientConnectionCreator,
        IProtocolFactory,
        IReactorTime,
        ITransport,
    )

    ConnectionCreator = IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator

# The maximum size of one encryption, and of one read of further data from OpenSSL.
WRITE_BYTES: Final = 64 * 1024
READ_BYTES: Final = 32 * 1024
# The overhead of OpenSSL: 22 bytes for each record of at most 16 KiB in TLS 1.3, and occasional messages of its own.
_OVERHEAD: Final = 4 * 1024
# The size of a record header: its type, a version, and the length of the record.
_RECORD_HEADER: Final = 5
# The number of records that are decrypted in one turn of the reactor. Bulk data has records of 16 KiB, 16 per read; a
# client may also send thousands of one-byte records, or key update messages, in one read.
MAX_RECORDS: Final = 64


class Records:
    """Tracks the record boundaries of a TLS connection (RFC 8446 section 5.1), to detect reads that are one record.

    @ivar taken: the number of bytes of the last read that belong to the first L{MAX_RECORDS} records. The caller must
        pass the rest again.
    """

    __slots__ = ("_head", "_missing", "taken")

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self.taken = 0

    def is_single_record(self, data: bytes) -> bool:
        """Process the next read, up to L{taken} bytes.

        @return: whether the read is exactly one complete record.
        """
        self.taken = length = len(data)
        if (
            not self._missing
            and not self._head
            and length > _RECORD_HEADER
            and (data[3] << 8 | data[4]) + _RECORD_HEADER == length
        ):
            return True
        position, records = self._missing, 0
        while position < length or self._head:
            if records == MAX_RECORDS:
                self.taken = position
                self._missing = 0
                return False
            records += 1
            head = self._head + data[position : position + _RECORD_HEADER - len(self._head)]
            if len(head) < _RECORD_HEADER:
                self._head = head
                self._missing = 0
                return False
            position += _RECORD_HEADER - len(self._head) + (head[3] << 8 | head[4])
            self._head = b""
        self._missing = position - length
        return False


class TlsLayer(TLSMemoryBIOProtocol):
    """Twisted's TLS layer with less work for each connection and read.

      - It decrypts a read completely before it passes it on, and encrypts a write completely before it sends it,
        instead of record by record.
      - It does not declare the interfaces of the transport below on each connection: nothing here needs them, and the
        declaration takes longer than the rest of a new connection.

    In one turn of the reactor it decrypts L{MAX_RECORDS} records; L{egress.transport.fair_turns} schedules the rest.
    """

    _deferred = b""
    _paused = False
    _pace: Pace | None = None
    _end: Failure | None = None

    def makeConnection(self, transport: ITransport) -> None:
        """Start the handshake (C{IProtocol})."""
        self._tlsConnection = cast("TlsFactory", self.factory).create(self)
        self._appSendBuffer: list[bytes] = []
        self._records = Records()
        self._single_record = False
        Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]
        self.factory.registerProtocol(self)  # type: ignore[no-untyped-call]
        self.wrappedProtocol.makeConnection(self)
        self._checkHandshakeStatus()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Process data from the transport (C{IProtocol})."""
        if self._deferred:
            self._deferred += data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._single_record = self._records.is_single_record(data)
        taken = self._records.taken
        if taken < len(data):
            self._deferred = data[taken:]
            data = data[:taken]
            if self._end is None:
                self.transport.pauseProducing()  # type: ignore[union-attr]
            self._wait()
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def _wait(self) -> None:
        if self._pace is None:
            self._pace = Pace(cast("TlsFactory", self.factory).turns, self._continue)
        peer = cast("Any", self.transport).getPeer()
        self._pace.wait(limit_key(getattr(peer, "host", "")), self.transport)

    def _continue(self) -> None:
        """Continue with the rest of the last read, unless reading is paused."""
        if self._deferred and not self._paused:
            data, self._deferred = self._deferred, b""
            if not (self._aborted or self._lostTLSConnection):
                self._take(data)
        if self._deferred:
            return
        if self._end is not None:
            end, self._end = self._end, None
            super().connectionLost(end)  # type: ignore[no-untyped-call]
        elif not self._paused:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """Pause reading (C{IPushProducer})."""
        self._paused = True
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        """Resume reading, first the rest of the last read (C{IPushProducer})."""
        self._paused = False
        if self._deferred:
            self._wait()
        else:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection (C{IProtocol}). Data that a server sent before is still processed."""
        if self._deferred and cast("TlsFactory", self.factory).is_client and not self._aborted:
            self._end = reason
            self._paused = False
            self._wait()
        else:
            self._deferred = b""
            super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _flushReceiveBIO(self) -> None:
        pieces: list[bytes] = []
        failure: Failure | None = None
        ended = False
        while not self._lostTLSConnection:
            try:
                pieces.append(self._tlsConnection.recv(READ_BYTES))
                if self._single_record:
                    # This was the only record, and complete: another call would raise an exception.
                    break
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                ended = True
                break
            except SSL.Error:
                failure = Failure()  # type: ignore[no-untyped-call]
                break
        if pieces and not self._aborted:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            ProtocolWrapper.dataReceived(self, data)  # type: ignore[no-untyped-call]
        # The receiver of the data may have closed the connection already.
        if not self._lostTLSConnection:
            if ended:
                self._shutdownTLS()  # type: ignore[no-untyped-call]
                self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]
            elif failure is not None:
                self._tlsShutdownFinished(failure)  # type: ignore[no-untyped-call]
        if not (pieces and self._single_record):
            # Content requires no response of OpenSSL, and the output of the receiver was sent.
            self._flushSendBIO()

    def _flushSendBIO(self, size: int = READ_BYTES) -> None:
        while True:
            try:
                data = self._tlsConnection.bio_read(size)
            except SSL.WantReadError:
                return
            self.transport.write(data)  # type: ignore[union-attr]
            if len(data) < size:
                return

    def _write(self, data: bytes | memoryview) -> None:
        if self._lostTLSConnection:
            return
        length = len(data)
        if length > WRITE_BYTES:
            view = memoryview(data)
            for start in range(0, length, WRITE_BYTES):
                self._write(view[start : start + WRITE_BYTES])
            return
        sent = 0
        while sent < length:
            try:
                # Depending on the version of pyOpenSSL, this takes all of it, or one record.
                sent += self._tlsConnection.send(data[sent:] if sent else data)
            except SSL.WantReadError:
                self._bufferedWrite(bytes(data[sent:]))  # type: ignore[no-untyped-call]
                break
            except SSL.Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
                return
        self._flushSendBIO(max(READ_BYTES, length + _OVERHEAD))


class TlsFactory(TLSMemoryBIOFactory):
    """Creates TLS layers without a write buffer of their own.

    Writers aggregate their data; a second buffer would only add a turn of the reactor.
    """

    noisy = False
    protocol = TlsLayer

    def __init__(
        self,
        creator: ConnectionCreator,
        isClient: bool,
        wrappedFactory: IProtocolFactory,
        clock: IReactorTime,
        turns: RoundRobin | None = None,
    ) -> None:
        """Create a factory.

        @param turns: the scheduler of work for later turns of the reactor; C{None} for a separate one.
        """
        super().__init__(creator, isClient, wrappedFactory, clock)
        self._creator = creator
        self.is_client = isClient
        self.turns = RoundRobin(clock) if turns is None else turns

    def create(self, layer: TlsLayer) -> SSL.Connection:
        """Create a TLS session. Twisted's own name for this method differs between its versions."""
        if self.is_client:
            connection = cast("IOpenSSLClientConnectionCreator", self._creator).clientConnectionForTLS(layer)
            connection.set_connect_state()
        else:
            connection = cast("IOpenSSLServerConnectionCreator", self._creator).serverConnectionForTLS(layer)
            connection.set_accept_state()
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Creates TLS sessions with clients from one context, for L{TlsFactory}."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See C{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._context, None)
