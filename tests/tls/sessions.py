"""TLS sessions in memory: OpenSSL on both sides, which exchange bytes through two lists."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer


def shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    """Complete a handshake between two connections.

    @raise OpenSSL.SSL.Error: if one side rejects the handshake; the client's error comes first.
    """
    client.set_connect_state()
    server.set_accept_state()
    waiting = {client, server}
    while waiting:
        error: SSL.Error | None = None
        for near, far in ((client, server), (server, client)):
            try:
                near.do_handshake()
                waiting.discard(near)
            except SSL.WantReadError:
                pass
            except SSL.Error as refusal:
                error = error or refusal
            move(near, far)
        if error is not None:
            raise error


def move(near: SSL.Connection, far: SSL.Connection) -> None:
    """Move the output of one connection to the other one."""
    with suppress(SSL.WantReadError):
        far.bio_write(near.bio_read(1 << 16))


def is_resumed(client: SSL.Context, first: SSL.Context, second: SSL.Context) -> bool:
    """Tell whether a session with one server context is resumed with another one."""
    ends = SSL.Connection(client, None), SSL.Connection(first, None)
    shake_hands(*ends)
    # The tickets of TLS 1.3 follow the handshake.
    ends[1].send(b"hello")
    move(ends[1], ends[0])
    ends[0].recv(5)
    session = ends[0].get_session()
    assert session is not None
    again = SSL.Connection(client, None), SSL.Connection(second, None)
    again[0].set_session(session)
    shake_hands(*again)
    bindings: Any = SSL
    resumed = {bool(bindings._lib.SSL_session_reused(one._ssl)) for one in again}  # noqa: SLF001
    assert len(resumed) == 1
    return resumed.pop()


@implementer(IHandshakeListener)
class Listener(Protocol):
    """Records its events.

    @ivar greeting: the data that it writes as soon as it is connected, which is before the handshake.
    """

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.completed = False
        self.received = b""
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        """Write immediately, as a careless protocol does."""
        if self.greeting:
            assert self.transport is not None
            self.transport.write(self.greeting)

    def handshakeCompleted(self) -> None:
        """Record the event."""
        self.completed = True

    def dataReceived(self, data: bytes) -> None:
        """Record the data."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the reason."""
        self.lost = reason


class _TlsFactory(TLSMemoryBIOFactory):
    # As in the proxy: written data is passed to OpenSSL immediately.
    protocol = TLSMemoryBIOProtocol


class Session:
    """Two protocols over Twisted's TLS, connected to each other.

    @ivar client: the application protocol of the client.
    @ivar server: the application protocol of the server.
    """

    def __init__(self, client_tls: Any, server_tls: Any, greeting: bytes = b"") -> None:
        self.client = Listener(greeting)
        self.server = Listener()
        self._ends = [
            self._end(client_tls, True, self.client),
            self._end(server_tls, False, self.server),
        ]

    def _end(self, tls: Any, is_client: bool, above: Listener) -> tuple[Any, StringTransport]:
        factory = _TlsFactory(tls, is_client, Factory.forProtocol(lambda: above), clock=Clock())
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        assert protocol is not None
        protocol.makeConnection(transport)
        return protocol, transport

    @property
    def client_layer(self) -> Any:
        """The client's TLS layer."""
        return self._ends[0][0]

    def run(self) -> Session:
        """Transfer bytes until both sides are silent, then close the connections that were closed."""
        (client, client_wire), (server, server_wire) = self._ends
        while client_wire.value() or server_wire.value():
            for wire, other in ((client_wire, server), (server_wire, client)):
                data = wire.value()
                wire.clear()
                if data:
                    other.dataReceived(data)
        if client_wire.disconnecting or server_wire.disconnecting:
            for protocol in (client, server):
                protocol.connectionLost(Failure(connectionDone.value))
        return self
