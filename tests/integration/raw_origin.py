"""Peers made of plain sockets: an origin and a client that do exactly what a test says, and see every byte."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.certificates import TestCA, TestCertificate
from tests.integration.base import IntegrationTestCase, Proxy

# Longer than any operation here takes: after this time a peer hangs.
PATIENCE = 20.0

OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# The rest of a request head for a WebSocket, and the response; key and accept are those of RFC 6455 section 1.3.
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Wire:
    """One end of a connection, which parses the framing of HTTP/1.1."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.socket = sock
        # For each piece that is added to bytes, all of them are copied: there can be many megabytes.
        self._received = bytearray()
        self._begin = 0

    @property
    def received(self) -> bytes:
        """All bytes read so far, after TLS where it is used."""
        return bytes(self._received)

    def add(self, data: bytes) -> None:
        """Record bytes that were read from the socket directly."""
        self._received += data

    def send(self, data: bytes | str) -> None:
        """Send all data."""
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def start_tls(self, server_name: str, ca: Path | None) -> None:
        """Start TLS as a client.

        @param ca: the CA to trust; C{None} accepts every certificate.
        """
        context = ssl.create_default_context(cafile=ca)
        if ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=server_name)

    def _read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"closed after {bytes(self._received[self._begin :])!r}")
        self.add(data)

    def read(self, size: int) -> bytes:
        """Read this many bytes.

        @raise EOFError: when the connection closes first.
        """
        while len(self._received) < self._begin + size:
            self._read()
        begin, self._begin = self._begin, self._begin + size
        return bytes(self._received[begin : self._begin])

    def read_until(self, end: bytes) -> bytes:
        """Read up to and including a marker.

        @raise EOFError: when the connection closes first.
        """
        while (found := self._received.find(end, self._begin)) < 0:
            self._read()
        return self.read(found + len(end) - self._begin)

    def read_to_end(self) -> bytes:
        """Read until the other end closes; a reset counts as closing."""
        try:
            while True:
                self._read()
        except (EOFError, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            begin, self._begin = self._begin, len(self._received)
            return bytes(self._received[begin:])

    def read_rest(self) -> bytes:
        """Read until the other end closes in order; the data is not added to L{received}."""
        return b"".join(self.pieces())

    def receive(self) -> bytes:
        """Return buffered data, or else the result of one read of the socket; the data is not added to L{received}.

        @return: no bytes at the end.
        """
        rest = bytes(self._received[self._begin :])
        self._begin = len(self._received)
        return rest or self.socket.recv(1 << 20)

    def pieces(self) -> Iterator[bytes]:
        """Yield pieces until the other end closes in order; see L{receive}."""
        while data := self.receive():
            yield data

    def read_message(self, *, head_only: bool = False) -> tuple[str, bytes]:
        """Read a message that has a Content-Length, or no content.

        @return: its head and its content.
        """
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        length = 0
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return head, b"" if head_only else self.read(length)

    def read_head(self) -> str:
        """Read the head of a message."""
        return self.read_message(head_only=True)[0]

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

    def reset(self) -> None:
        """Close this end with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


Script = Callable[["RawOrigin", Wire], object]


class RawOrigin:
    """An origin that runs a script for each connection, in a thread of its own.

    @ivar connections: all connections, in order.
    @ivar heads: the heads of the requests that L{request} read, in order.
    """

    def __init__(
        self,
        script: Script,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.connections: list[Wire] = []
        self.heads: list[str] = []
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return its URL, without a path."""
        return f"{'https' if self._context else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Return its host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # stopped
            wire = Wire(sock)
            self.connections.append(wire)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        try:
            if self._context is not None:
                wire.socket = self._context.wrap_socket(wire.socket, server_side=True)
            self._script(self, wire)
        except (OSError, EOFError):
            pass  # the proxy closed the connection, as in many tests
        finally:
            wire.close()

    def request(self, wire: Wire) -> str:
        """Read a request; its content stays in L{Wire.received}.

        @return: its head.
        """
        head, _ = wire.read_message()
        self.heads.append(head)
        return head

    def stop(self) -> None:
        """Accept no more connections, and close the open ones."""
        # A blocked accept() does not notice a close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self.connections:
            wire.close()


def server_context(certificate: TestCertificate, directory: str) -> ssl.SSLContext:
    """Return the context of a TLS origin, whose settings can still be changed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with open(f"{directory}/raw-origin.pem", "w+b") as file:
        file.write(certificate.certificate_pem + certificate.key_pem)
    context.load_cert_chain(file.name)
    return context


def client_of(proxy: Proxy, tunnel_to: str | None = None, *, tls: bool = False) -> Wire:
    """Connect to a proxy.

    @param tunnel_to: C{host:port} of a tunnel to open.
    @param tls: whether to start TLS inside it, trusting the proxy's CA.
    """
    wire = Wire(socket.create_connection(("127.0.0.1", proxy.port)))
    if tunnel_to is not None:
        wire.send(f"CONNECT {tunnel_to} HTTP/1.1\r\nHost: {tunnel_to}\r\n\r\n")
        head = wire.read_head()
        if not head.startswith("HTTP/1.1 200 "):
            raise AssertionError(head)
    if tls:
        assert tunnel_to is not None
        wire.start_tls(tunnel_to.rpartition(":")[0], proxy.ca)
    return wire


def respond_once(origin: RawOrigin, wire: Wire) -> None:
    """Respond to one request of a connection."""
    origin.request(wire)
    wire.send(OK)


def respond_always(origin: RawOrigin, wire: Wire) -> None:
    """Respond to every request of a connection."""
    while True:
        respond_once(origin, wire)


class RawOriginTestCase(IntegrationTestCase):
    """Base: starts origins that run a script, and connects clients.

    @ivar ca: the CA of the origins.
    @ivar trust: the options of a proxy that trusts it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ca = TestCA("raw CA")
        self.trust = ["--ssl-extra-ca-certs", str(self.ca.write(self.directory, "raw-ca"))]

    def tls(self, *names: str) -> ssl.SSLContext:
        """Return the context of an origin.

        @param names: the names in its certificate; by default, the address of the origins.
        """
        return server_context(self.ca.issue(*(names or ("127.0.0.1",))), str(self.directory))

    def start_origin(self, script: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> RawOrigin:
        """Start an origin."""
        origin = RawOrigin(script, context, host)
        self.addCleanup(origin.stop)
        return origin

    def connect(self, proxy: Proxy, tunnel_to: str | None = None, *, tls: bool = False) -> Wire:
        """Connect a client to a proxy; see L{client_of}."""
        client = client_of(proxy, tunnel_to, tls=tls)
        self.addCleanup(client.close)
        return client
