"""The TLS layer of client and origin connections, in place of Twisted's."""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, ISystemHandle, ITransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.model.limit_key import limit_key
from egress.transport.fair_turns import Pace, RoundRobin
from egress.transport.producer_membrane import ProducerMembrane
from egress.transport.tls_records import Records
from egress.transport.tls_session import TlsSession, is_unexpected_end, session_of


class TlsLayer:
    """A TLS layer: the transport of the protocol inside it, and the protocol of the transport below it.

    It has the interface of Twisted's C{TLSMemoryBIOProtocol}, with less work for each connection and read:

      - It decrypts a read completely before it passes it on, and encrypts a write completely before it sends it,
        instead of record by record (L{egress.transport.tls_session}).
      - It does not declare the interfaces of the transport below on each connection: nothing here needs them, and the
        declaration takes longer than the rest of a new connection.

    In one turn of the reactor it decrypts L{MAX_RECORDS} records; L{egress.transport.fair_turns} schedules the rest.

    @ivar wrappedProtocol: the protocol inside the layer; C{None} after the connection was lost.
    @ivar disconnecting: whether the protocol inside has closed the connection.
    """

    # Without a base class: mypyc makes it a native class. Idle connections are many, so the pure build has no
    # dictionary for each.
    __slots__ = (
        "_aborted",
        "_creator",
        "_deferred",
        "_end",
        "_handshake_done",
        "_holds_tickets",
        "_is_client",
        "_lost",
        "_pace",
        "_paused",
        "_producer",
        "_reason",
        "_records",
        "_session",
        "_turns",
        "_unsent",
        "connected",
        "disconnecting",
        "transport",
        "wrappedProtocol",
    )

    def __init__(self, creator: Any, is_client: bool, inner: Any, turns: RoundRobin) -> None:
        """Create a layer.

        @param creator: creates the session when the connection is made: C{IOpenSSLServerConnectionCreator} or
            C{IOpenSSLClientConnectionCreator}.
        @param is_client: whether this side is the client.
        @param inner: the protocol inside the layer.
        @param turns: the scheduler of work for later turns of the reactor.
        """
        self.transport: Any = None
        self.wrappedProtocol: Any = inner
        self.connected = False
        self.disconnecting = False
        self._creator = creator
        self._is_client = is_client
        self._turns = turns
        self._session: TlsSession | None = None
        self._records = Records()
        self._handshake_done = False
        self._holds_tickets = False
        self._lost = self._aborted = self._paused = False
        self._unsent: list[bytes] | None = None
        self._producer: ProducerMembrane | None = None
        self._deferred = b""
        self._pace: Pace | None = None
        self._reason: Failure | None = None
        self._end: Failure | None = None

    # -- the transport of the protocol inside

    def getHandle(self) -> SSL.Connection | None:
        """Return the session of pyOpenSSL; C{None} without one (C{ISystemHandle})."""
        session = self._session
        return None if session is None else session.connection

    def getPeerCertificate(self) -> Any:
        """Return the certificate of the peer (C{ISSLTransport})."""
        session = self._session
        return None if session is None else session.connection.get_peer_certificate()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The application protocol (C{INegotiated})."""
        session = self._session
        return None if session is None else session.connection.get_alpn_proto_negotiated() or None

    def getPeer(self) -> Any:
        """Return the address of the peer (C{ITransport})."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Return the address of this side (C{ITransport})."""
        return self.transport.getHost()

    def logPrefix(self) -> str:
        """Return the name of the protocol for logs (C{ILoggingContext})."""
        return f"{type(self.wrappedProtocol).__name__} (TLS)"

    def write(self, data: bytes) -> None:
        """Encrypt and send data, unless the connection is closed (C{ITransport})."""
        if not self.disconnecting or self._producer is not None:
            self._write(data)

    def writeSequence(self, data: Any) -> None:
        """Encrypt and send data (C{ITransport})."""
        self.write(b"".join(data))

    def _write(self, data: bytes) -> None:
        session = self._session
        if self._lost or session is None:
            return
        if not self._handshake_done:
            self._keep(data)
            return
        self._holds_tickets = False
        size = len(data)
        start = 0
        while start < size:
            output = session.encrypt(data, start)
            start = session.position
            if output:
                self.transport.write(output)
            if session.failure is not None or session.ended:
                self._finish_shutdown(session.failure)
                return
            if session.blocked:
                self._keep(data[start:])
                return
            if self._lost:
                return

    def _keep(self, data: bytes) -> None:
        """Keep data until the session can encrypt it."""
        if self._unsent is None:
            self._unsent = []
        self._unsent.append(bytes(data))
        if self._producer is not None:
            self._producer.pauseProducing()

    def _write_unsent(self) -> None:
        unsent, self._unsent = self._unsent, None
        for data in unsent or ():
            self._write(data)
        if self._unsent is not None:
            return
        if self._producer is not None:
            self._producer.resumeProducing()
        elif self.disconnecting:
            self._shut_down()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Register a producer (C{IConsumer}).

        @param streaming: true; pull producers are not supported.
        """
        if not streaming:
            raise NotImplementedError("pull producers are not supported")
        if self._lost:
            producer.stopProducing()
            return
        membrane = ProducerMembrane(producer)
        self.transport.registerProducer(membrane, True)
        self._producer = membrane

    def unregisterProducer(self) -> None:
        """Unregister the producer (C{IConsumer})."""
        if self._producer is None:
            return
        self._producer = None
        self.transport.unregisterProducer()
        if self.disconnecting and self._unsent is None:
            self._shut_down()

    def pauseProducing(self) -> None:
        """Pause reading (C{IPushProducer})."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume reading, first the rest of the last read (C{IPushProducer})."""
        self._paused = False
        if self._deferred:
            self._wait()
        else:
            self.transport.resumeProducing()

    def loseConnection(self) -> None:
        """Send a closing alert and close the connection after all data (C{ITransport})."""
        if self.disconnecting or not self.connected:
            return
        if not self._handshake_done and self._unsent is None:
            # OpenSSL does not send a closing alert in the middle of a handshake, and without data to send there is no
            # reason to wait for the end of the handshake.
            self.abortConnection()
        self.disconnecting = True
        if self._unsent is None and self._producer is None:
            self._shut_down()

    def abortConnection(self) -> None:
        """Close the connection immediately; no more data is passed on (C{ITCPTransport})."""
        self._aborted = True
        self.disconnecting = True
        self._shut_down()
        self.transport.abortConnection()

    # -- the protocol of the transport below

    def makeConnection(self, transport: Any) -> None:
        """Start the handshake (C{IProtocol})."""
        creator, self._creator = self._creator, None
        if self._is_client:
            connection = creator.clientConnectionForTLS(self)
            connection.set_connect_state()
        else:
            connection = creator.serverConnectionForTLS(self)
            connection.set_accept_state()
        self._session = session_of(connection, self._turns.buffers)
        self.transport = transport
        self.connected = True
        self.wrappedProtocol.makeConnection(self)
        if self._is_client:  # A server waits for the first message.
            self._shake(b"")

    def _shake(self, data: bytes) -> None:
        """Continue the handshake."""
        session = self._session
        if session is None or self._aborted:
            return
        connection = session.connection
        if data:
            connection.bio_write(data)
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            self._send_output()
        except SSL.Error as error:
            self._finish_shutdown(error)
        else:
            self._handshake_done = True
            session.grow()
            # The session tickets of TLS 1.3 wait for the first response, which saves a packet and a system call. In
            # TLS 1.2, the client waits for the output.
            self._holds_tickets = not self._is_client and connection.get_protocol_version() >= SSL.TLS1_3_VERSION
            if IHandshakeListener.providedBy(self.wrappedProtocol):
                self.wrappedProtocol.handshakeCompleted()

    def dataReceived(self, data: bytes) -> None:
        """Process data from the transport (C{IProtocol})."""
        if self._deferred:
            self._deferred += data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        single = self._records.is_single_record(data)
        taken = self._records.taken
        if taken < len(data):
            self._deferred = data[taken:]
            data = data[:taken]
            if self._end is None:
                self.transport.pauseProducing()
            self._wait()
        if not self._handshake_done:
            self._shake(data)
            if not self._handshake_done:
                return
            data = b""
        if self._unsent is not None:
            self._write_unsent()
        self._receive(data, single)

    def _receive(self, data: bytes, single: bool) -> None:
        """Decrypt data, and pass it on."""
        session = self._session
        if self._lost or session is None:
            return
        content = session.decrypt(data, single)
        if content and not self._aborted:
            self.wrappedProtocol.dataReceived(content)
        # The receiver of the data may have closed the connection already.
        if not self._lost:
            if session.ended:
                self._shut_down()
                self._finish_shutdown(None)
            elif session.failure is not None:
                self._finish_shutdown(session.failure)
        if not (content and single) and not self._holds_tickets:
            # Content requires no response of OpenSSL, and the output of the receiver was sent.
            self._send_output()

    def _send_output(self) -> None:
        output = b"" if self._session is None else self._session.output()
        if output:
            self.transport.write(output)

    def _wait(self) -> None:
        pace = self._pace
        if pace is None:
            pace = self._pace = Pace(self._turns, self._continue)
        pace.wait(limit_key(getattr(self.transport.getPeer(), "host", "")), self.transport)

    def _continue(self) -> None:
        """Continue with the rest of the last read, unless reading is paused."""
        if self._deferred and not self._paused:
            data, self._deferred = self._deferred, b""
            if not (self._aborted or self._lost):
                self._take(data)
        if self._deferred:
            return
        end, self._end = self._end, None
        if end is not None:
            self._lose(end)
        elif not self._paused:
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the connection (C{IProtocol}). Data that a server sent before is still processed."""
        if self._deferred and self._is_client and not self._aborted:
            self._end = reason
            self._paused = False
            self._wait()
        else:
            self._deferred = b""
            self._lose(reason)

    def _lose(self, reason: Failure) -> None:
        session = self._session
        if not self._lost and session is not None:
            # OpenSSL distinguishes a connection that ended after the closing alert from one that did not.
            session.connection.bio_shutdown()
            if self._handshake_done:
                self._receive(b"", False)
            else:
                self._shake(b"")
            self._lost = True
        cause, self._reason = self._reason or reason, None
        self.connected = False
        inner, self.wrappedProtocol = self.wrappedProtocol, None
        if session is not None:
            self._turns.buffers.discard(session)
        self._session = self._producer = None
        inner.connectionLost(cause)

    # -- the end of the session

    def _shut_down(self) -> None:
        """Send a closing alert, or respond to one."""
        session = self._session
        if session is None:
            return
        try:
            both = session.connection.shutdown()
        except SSL.Error:
            # In the middle of a handshake.
            both = False
        self._send_output()
        if both:
            self.transport.loseConnection()

    def _finish_shutdown(self, error: SSL.Error | None) -> None:
        """Close the connection below, after the end of the session.

        @param error: the error for the protocol inside; C{None} for the reason of the transport below.
        """
        if self._reason is None and error is not None:
            self._reason = Failure(CONNECTION_LOST if is_unexpected_end(error) else error)  # type: ignore[no-untyped-call]
        self._lost = True
        # There may be an alert that explains the error.
        self._send_output()
        self.transport.loseConnection()


# Not with a decorator, and without a base class: mypyc makes native classes only of others.
# INegotiated is not declared, because it implies ITCPTransport, which is the transport below.
classImplements(TlsLayer, ISystemHandle, ITransport)

TLS_LAYERS: Final = (TlsLayer, TLSMemoryBIOProtocol)
"""The classes of transports that use TLS: of this project, and of Twisted."""
