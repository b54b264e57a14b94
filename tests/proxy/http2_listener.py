"""Clients that speak HTTP/2 to a listener."""

from __future__ import annotations

from collections.abc import Sequence

from egress.model.decision import Header
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.factory import ProxyFactory
from tests.proxy.fakes import ProxyTestCase, Wire
from tests.proxy.http2_client import Http2Client
from tests.transport.tls import TlsClient, TlsEnd, leaves


class PlainEnd:
    """The client's end of a connection without TLS, as L{Http2Client} uses it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def send(self, data: bytes) -> None:
        """Send data."""
        self.wire.feed(data)

    def take(self) -> bytes:
        """Return the data that the proxy wrote."""
        return self.wire.take()

    @property
    def closed(self) -> bool:
        """Whether the proxy has closed the connection."""
        return self.wire.disconnecting or self.wire.disconnected


class StreamWire:
    """The client's end of a tunnel in a stream."""

    def __init__(self, http2: Http2Client, stream: int) -> None:
        self.http2 = http2
        self.stream = stream
        self._taken = 0

    def feed(self, data: bytes) -> None:
        """Send data into the tunnel."""
        for at in range(0, len(data), 16384):
            self.http2.data(self.stream, data[at : at + 16384])

    def take(self) -> bytes:
        """Return the data that came out of the tunnel."""
        self.http2.read()
        content = self.http2.content(self.stream)
        data = content[self._taken :]
        self._taken += len(data)
        return data

    def end(self) -> None:
        """End the client's direction."""
        self.http2.data(self.stream, b"", end=True)

    @property
    def ended(self) -> bool:
        """Whether the proxy has ended its direction."""
        self.http2.read()
        return self.http2.ended(self.stream)

    @property
    def code(self) -> int | None:
        """The code with which the proxy has reset the stream; C{None} if it has not."""
        self.http2.read()
        return self.http2.reset(self.stream)


class Http2ListenerTestCase(ProxyTestCase):
    """A listener that permits HTTP/2 without TLS.

    @ivar http2: the client.
    """

    def setUp(self) -> None:
        self.rebuild()

    def rebuild(self, **options: object) -> None:
        """Create a proxy with other settings, and connect a client."""
        self.build(leaves=leaves(), **options)
        self.authorizer.needs_body = False
        # It would count against the limits.
        self.client.lose()
        self.start()

    def start(self, auth_policy: ClientAuthPolicy = ANONYMOUS, *, acknowledge: bool = True) -> None:
        """Connect a client that begins with the preface."""
        wire = Wire(self.clock).connect(ProxyFactory(self.proxy.parts, auth_policy, h2c=True).admit("198.51.100.7"))
        self.clients.append(wire)
        self.client = wire
        self.http2 = Http2Client(PlainEnd(wire), acknowledge=acknowledge)  # type: ignore[arg-type]

    def connect_stream(self, authority: str = "origin.test:443", *fields: Header) -> int:
        """Send a CONNECT; return its stream."""
        stream = self.http2.h2.get_next_available_stream_id()
        self.http2.send([(b":method", b"CONNECT"), (b":authority", authority.encode()), *fields], stream, end=False)
        return stream

    def tunnel(self, authority: str = "origin.test:443", *fields: Header) -> StreamWire:
        """Open a tunnel."""
        stream = self.connect_stream(authority, *fields)
        self.assertEqual(self.http2.fields(stream), {b":status": b"200"})
        return StreamWire(self.http2, stream)

    def intercept(self, authority: str = "origin.test:443", *, protocols: Sequence[bytes] = ()) -> TlsEnd:
        """Open a tunnel with a TLS session inside."""
        server_name = authority.partition(":")[0]
        return TlsClient(self.tunnel(authority), server_name, protocols=protocols).shake()
