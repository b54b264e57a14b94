"""TLS layers that Twisted builds from contexts of ours."""

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

# What is encrypted at one go, and what is taken out of OpenSSL at one go when more waits there.
WRITE_BYTES: Final = 64 * 1024
READ_BYTES: Final = 32 * 1024
# What OpenSSL adds: 22 bytes to each record of at most 16 KiB in TLS 1.3, and now and then a message of its own.
_OVERHEAD: Final = 4 * 1024
# Of a record: its type, a version, and the length of what follows.
_HEAD: Final = 5
# What is decrypted in one turn of the reactor.  Bulk comes in records of 16 KiB, 16 to a read; a client may also send
# thousands of records of a byte, or messages that change keys, in one read.
MAX_RECORDS: Final = 64


class Records:
    """Follows where the records of a TLS connection end (RFC 8446 section 5.1), to know when one is all that came.

    @ivar taken: how many bytes of what was read last are the first L{MAX_RECORDS} records.  The rest is to be given
        again.
    """

    __slots__ = ("_head", "_missing", "taken")

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self.taken = 0

    def whole(self, data: bytes) -> bool:
        """Take what was read next, L{taken} of it.

        @return: whether it is exactly one whole record.
        """
        self.taken = length = len(data)
        if not self._missing and not self._head and length > _HEAD and (data[3] << 8 | data[4]) + _HEAD == length:
            return True
        at, records = self._missing, 0
        while at < length or self._head:
            if records == MAX_RECORDS:
                self.taken = at
                self._missing = 0
                return False
            records += 1
            head = self._head + data[at : at + _HEAD - len(self._head)]
            if len(head) < _HEAD:
                self._head = head
                self._missing = 0
                return False
            at += _HEAD - len(self._head) + (head[3] << 8 | head[4])
            self._head = b""
        self._missing = at - length
        return False


class TlsLayer(TLSMemoryBIOProtocol):
    """Twisted's TLS, with what costs time on each connection and each read done once.

    - A read is decrypted as a whole before it is handed on, and a write encrypted as a whole before it is sent, instead
      of record by record.
    - The interfaces of the transport below are not declared anew on each connection: nothing here asks for them, and to
      declare them takes longer than the rest of a new connection.

    In one turn of the reactor it decrypts L{MAX_RECORDS} records; L{egress.transport.fair_turns} continues with the
    rest.
    """

    _later = b""
    _held = False
    _pace: Pace | None = None
    _end: Failure | None = None

    def makeConnection(self, transport: ITransport) -> None:
        """Begin the handshake (C{IProtocol})."""
        self._tlsConnection = cast("TlsFactory", self.factory).create(self)
        self._appSendBuffer: list[bytes] = []
        self._records = Records()
        self._whole = False
        Protocol.makeConnection(self, transport)  # type: ignore[no-untyped-call]
        self.factory.registerProtocol(self)  # type: ignore[no-untyped-call]
        self.wrappedProtocol.makeConnection(self)
        self._checkHandshakeStatus()  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Take what the transport read (C{IProtocol})."""
        if self._later:
            self._later += data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._whole = self._records.whole(data)
        taken = self._records.taken
        if taken < len(data):
            self._later = data[taken:]
            data = data[:taken]
            if self._end is None:
                self.transport.pauseProducing()  # type: ignore[union-attr]
            self._wait()
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def _wait(self) -> None:
        if self._pace is None:
            self._pace = Pace(cast("TlsFactory", self.factory).turns, self._go_on)
        peer = cast("Any", self.transport).getPeer()
        self._pace.wait(limit_key(getattr(peer, "host", "")), self.transport)

    def _go_on(self) -> None:
        """Continue with what was left of the last read, unless nobody takes it now."""
        if self._later and not self._held:
            data, self._later = self._later, b""
            if not (self._aborted or self._lostTLSConnection):
                self._take(data)
        if self._later:
            return
        if self._end is not None:
            end, self._end = self._end, None
            super().connectionLost(end)  # type: ignore[no-untyped-call]
        elif not self._held:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """Stop reading (C{IPushProducer})."""
        self._held = True
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        """Read on, from what is left of the last read first (C{IPushProducer})."""
        self._held = False
        if self._later:
            self._wait()
        else:
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone (C{IProtocol}); what a server sent before is still of use."""
        if self._later and cast("TlsFactory", self.factory).is_client and not self._aborted:
            self._end = reason
            self._held = False
            self._wait()
        else:
            self._later = b""
            super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _flushReceiveBIO(self) -> None:
        pieces: list[bytes] = []
        failure: Failure | None = None
        over = False
        while not self._lostTLSConnection:
            try:
                pieces.append(self._tlsConnection.recv(READ_BYTES))
                if self._whole:
                    # The one record that came, in full: to ask for another would take an exception to say no.
                    break
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                over = True
                break
            except SSL.Error:
                failure = Failure()  # type: ignore[no-untyped-call]
                break
        if pieces and not self._aborted:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            ProtocolWrapper.dataReceived(self, data)  # type: ignore[no-untyped-call]
        # What was handed on may have ended the connection, and then there is nothing left to end.
        if not self._lostTLSConnection:
            if over:
                self._shutdownTLS()  # type: ignore[no-untyped-call]
                self._tlsShutdownFinished(None)  # type: ignore[no-untyped-call]
            elif failure is not None:
                self._tlsShutdownFinished(failure)  # type: ignore[no-untyped-call]
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
            whole = memoryview(data)
            for start in range(0, length, WRITE_BYTES):
                self._write(whole[start : start + WRITE_BYTES])
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
    """Makes TLS layers without a write buffer of their own.

    What is written is aggregated where it is made; a second buffer would only add a turn of the reactor.
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
        """Make a factory.

        @param turns: the work that is left for later turns of the reactor; C{None}: that of this factory alone.
        """
        super().__init__(creator, isClient, wrappedFactory, clock)
        self._creator = creator
        self.is_client = isClient
        self.turns = RoundRobin(clock) if turns is None else turns

    def create(self, layer: TlsLayer) -> SSL.Connection:
        """Begin a TLS session; Twisted's own name for this changes between its versions."""
        if self.is_client:
            connection = cast("IOpenSSLClientConnectionCreator", self._creator).clientConnectionForTLS(layer)
            connection.set_connect_state()
        else:
            connection = cast("IOpenSSLServerConnectionCreator", self._creator).serverConnectionForTLS(layer)
            connection.set_accept_state()
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Begins TLS sessions with clients on one context, for L{TlsFactory}."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._context, None)
