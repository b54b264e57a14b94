"""Tests for L{egress.proxy.listener_session}."""

from __future__ import annotations

import contextlib
import random

from h2.exceptions import ProtocolError
from OpenSSL import SSL, crypto

from egress.client_auth.certificate_names import name_of
from egress.config.model import Limits
from egress.http.sniff import PREFACE
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.factory import ProxyFactory
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.tls.host_contexts import select_http1, select_protocol
from egress.transport.tls import ServerTls, TlsFactory
from tests.certificates import CLIENT, TestCA, TestCertificate
from tests.proxy.fakes import ProxyTestCase, Wire, deny, request, response, status_of
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import Http2ListenerTestCase, PlainEnd, StreamWire
from tests.proxy.test_client_auth import GOOD, FakeAuthenticator
from tests.proxy.tunnels import connect, inner
from tests.transport.tls import TlsClient, TlsEnd, leaves, presenting

# For random clients and origins.
HOSTS = ("pass.test:443", "origin.test:443", "origin.test:80", "origin.test:22", "no-port")
SENT = (b"x", inner(), PREFACE, b"\x16\x03\x01", bytes(16000), b"SSH-2.0-x\r\n", b"PRI ")
ANSWERS = (b"data", bytes(100_000), response(), response(b"x", "Connection: close"))
TIMES = (0.0, 0.1, 2.0, 6.0, 31.0, 76.0)
RUNS = 150


class PriorKnowledgeTests(Http2ListenerTestCase):
    """Clients of a listener with C{h2c=yes}."""

    def connect(self, address: str = "198.51.100.7") -> Wire:
        """Connect a client."""
        wire = Wire(self.clock).connect(ProxyFactory(self.proxy.parts, h2c=True).admit(""))
        self.clients.append(wire)
        return wire

    def test_a_request(self) -> None:
        stream = self.http2.request(scheme="http")
        self.origin.feed(response())
        self.http2.read()
        self.assertEqual((self.http2.status(stream), self.http2.content(stream)), (200, b"hello"))

    def test_a_preface_in_parts(self) -> None:
        wire = self.connect()
        for at in range(len(PREFACE)):
            self.assertEqual(wire.take(), b"")
            wire.feed(PREFACE[at : at + 1])
        # SETTINGS of the proxy.
        self.assertEqual(wire.take()[3], 4)

    def test_http1_remains(self) -> None:
        """A method that begins like the preface, too."""
        for method in ("GET", "PROPFIND", "PRIVATE"):
            with self.subTest(method):
                wire = self.connect()
                data = request(method)
                wire.feed(data[:1]).feed(data[1:3]).feed(data[3:])
                self.origin.feed(response())
                self.assertEqual(status_of(wire.take()), 200)

    def test_another_preface(self) -> None:
        wire = self.connect()
        wire.feed(PREFACE[:-4] + b"xx\r\n")
        self.assertEqual(status_of(wire.take()), 505)
        self.assertEqual(len(self.outcomes()), 1)

    def test_an_incomplete_preface(self) -> None:
        """It is an incomplete request, too."""
        wire = self.connect()
        wire.feed(b"PRI")
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertEqual((status_of(wire.take()), self.outcomes()), (408, ["request-timeout"]))

    def test_no_byte(self) -> None:
        wire = self.connect()
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertEqual((wire.take(), self.outcomes()), (b"", []))
        self.assertTrue(wire.disconnecting)

    def test_not_permitted(self) -> None:
        """By default, a listener rejects the preface."""
        wire = self.proxy.client()
        self.clients.append(wire)
        wire.feed(PREFACE)
        self.assertEqual(status_of(wire.take()), 505)

    def test_a_close(self) -> None:
        """The end of the client's data ends the connection."""
        self.http2.request(scheme="http")
        self.client.end()
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_backpressure(self) -> None:
        self.client.choke()
        stream = self.http2.request(scheme="http")
        self.origin.feed(response())
        self.http2.read()
        self.assertEqual(self.http2.status(stream), 0)
        self.client.unchoke()
        self.http2.read()
        self.assertEqual(self.http2.status(stream), 200)

    def test_shutdown(self) -> None:
        """The first request may be on the way."""
        self.proxy.parts.sessions.drain()
        self.assertFalse(self.client.disconnecting)
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 0))

    def test_an_idle_connection(self) -> None:
        self.clock.advance(self.proxy.limits.head_timeout)
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 0))
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_an_abort(self) -> None:
        self.proxy.parts.sessions.abort()
        self.assertTrue(self.client.aborted)


class InsideConnectTests(ProxyTestCase):
    """HTTP/2 without TLS in a tunnel over HTTP/1.1."""

    def start(self, authority: str = "origin.test:80") -> Http2Client:
        self.authorizer.needs_body = False
        self.client.feed(connect(authority))
        self.client.take()
        return Http2Client(PlainEnd(self.client))  # type: ignore[arg-type]

    def test_a_request(self) -> None:
        http2 = self.start()
        stream = http2.request(scheme="http")
        self.assertTrue(self.origin.take().startswith(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n"))
        self.origin.feed(response())
        http2.read()
        self.assertEqual((http2.status(stream), http2.content(stream)), (200, b"hello"))
        self.assertEqual(self.records[0].url, "http://origin.test/a")

    def test_the_binding(self) -> None:
        """A request names the authority and the scheme of the tunnel."""
        http2 = self.start()
        for authority, scheme in (("other.test", "http"), ("origin.test", "https")):
            self.assertEqual(http2.status(http2.request(authority=authority, scheme=scheme)), 421)
        self.assertEqual(self.dialer.origins, [])

    def test_a_tunnel_inside(self) -> None:
        http2 = self.start()
        stream = http2.h2.get_next_available_stream_id()
        http2.send([(b":method", b"CONNECT"), (b":authority", b"other.test:443")], stream, end=False)
        self.assertEqual(http2.status(stream), 400)

    def test_turned_off(self) -> None:
        """The preface is then no valid request, as before."""
        self.build(leaves=leaves(), http2=False)
        self.client.feed(connect("origin.test:80"))
        self.client.take()
        self.client.feed(PREFACE)
        self.assertEqual(status_of(self.client.take()), 505)


class NegotiationTests(ProxyTestCase):
    """Clients of a listener with TLS."""

    def setUp(self) -> None:
        self.build(leaves=leaves())
        self.authorizer.needs_body = False
        self.ca = TestCA("Clients")

    def open(
        self,
        certificate: TestCertificate | None = None,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        protocols: tuple[bytes, ...] = (b"h2", b"http/1.1"),
        *,
        http2: bool = True,
    ) -> TlsEnd:
        """Connect to a listener that requests a certificate."""
        context = TestCA().issue("proxy.test").server_context()
        context.set_alpn_select_callback(select_protocol if http2 else select_http1)
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.ca.certificate))
        context.set_verify(SSL.VERIFY_PEER)
        factory = TlsFactory(ServerTls(context), False, ProxyFactory(self.proxy.parts, auth_policy), clock=self.clock)
        wire = Wire(self.clock).connect(factory.buildProtocol(None))
        self.clients.append(wire)
        return TlsClient(wire, None, context=presenting(certificate), protocols=protocols).shake()

    def tunnel(self, http2: Http2Client, authority: str = "origin.test:443") -> StreamWire:
        """Open a tunnel."""
        stream = http2.h2.get_next_available_stream_id()
        http2.send([(b":method", b"CONNECT"), (b":authority", authority.encode())], stream, end=False)
        self.assertEqual(http2.status(stream), 200)
        return StreamWire(http2, stream)

    def test_http2(self) -> None:
        """TLS in a stream in TLS."""
        http2 = Http2Client(self.open())
        tls = TlsClient(self.tunnel(http2)).shake()
        tls.send(inner())
        self.origin.feed(response())
        self.assertIn(b"hello", tls.take())

    def test_http1(self) -> None:
        """A client that does not offer HTTP/2, and a proxy with C{--http2 off}."""
        for protocols, http2 in (((b"http/1.1",), True), ((), True), ((b"h2", b"http/1.1"), False)):
            with self.subTest(protocols, http2=http2):
                client = self.open(protocols=protocols, http2=http2)
                client.send(request())
                self.origin.feed(response())
                self.assertEqual(status_of(client.take()), 200)

    def test_certificates(self) -> None:
        """Each stream has the identity of the certificate, and two clients share no connections."""
        policy = ClientAuthPolicy(None, name_of)
        for name in ("runner-7", "runner-8"):
            http2 = Http2Client(self.open(self.ca.issue(usage=CLIENT, subject=name), policy))
            for _ in range(2):
                http2.request(scheme="http")
                self.origin.feed(response())
                http2.read()
            TlsClient(self.tunnel(http2)).shake().send(inner())
        names = [asked.client.identity for asked in self.authorizer.asked]
        self.assertEqual(names, ["runner-7"] * 3 + ["runner-8"] * 3)
        self.assertEqual(len(self.dialer.dialled), 4)

    def test_no_certificate(self) -> None:
        """The TLS context rejects such clients; this check does not depend on it."""
        http2 = Http2Client(self.open(None, ClientAuthPolicy(None, name_of)))
        self.assertEqual(http2.status(http2.request(scheme="http")), 407)
        self.assertEqual(self.outcomes(), ["client-credentials-rejected"])

    def test_an_error_after_the_handshake(self) -> None:
        """It is not reported as a failed handshake."""
        client = self.open()
        client.wire.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), [])


class RandomTests(Http2ListenerTestCase):
    """Clients and origins do anything at any time. No error is logged, and nothing of a connection is left."""

    def begin(self, seed: int) -> None:
        """Create a proxy, and connect a client."""
        self.random = random.Random(seed)
        limits = Limits(connections_per_client=self.random.choice((5, 1000)))
        self.rebuild(passthrough=("pass.test",), opaque_ports=(range(22, 23),), limits=limits)
        self.gate = FakeAuthenticator()
        self.authenticates = self.random.random() < 0.3
        if self.authenticates:
            self.start(ClientAuthPolicy(self.gate))
        self.streams: list[int] = []
        self.ends: dict[int, TlsEnd] = {}

    def open(self) -> None:
        """Send a CONNECT, or a request without a tunnel."""
        chance = self.random.random()
        if chance < 0.2:
            self.authorizer.answers.append(deny())
        elif chance < 0.4:
            self.authorizer.pending()
        fields = []
        if self.authenticates:
            fields.append((b"proxy-authorization", self.random.choice((GOOD, b"Bearer slow"))))
        if chance < 0.8:
            self.streams.append(self.connect_stream(self.random.choice(HOSTS), *fields))
        else:
            self.streams.append(self.http2.request("/", *fields, method="POST", scheme="http", end=chance < 0.9))

    def send(self) -> None:
        """Send data, or continue with TLS."""
        stream = self.random.choice(self.streams)
        if self.random.random() < 0.7:
            self.http2.data(stream, self.random.choice(SENT), end=self.random.random() < 0.2)
            return
        if stream not in self.ends:
            protocols = self.random.choice(([b"h2"], [b"http/1.1"], []))
            self.ends[stream] = TlsClient(StreamWire(self.http2, stream), protocols=protocols)
        with contextlib.suppress(SSL.Error):
            if self.ends[stream].try_handshake():
                self.ends[stream].send(inner())

    def disturb(self) -> None:
        """Reset a stream, or send trailers."""
        stream = self.random.choice(self.streams)
        if self.random.random() < 0.7:
            self.http2.h2.reset_stream(stream)
            self.http2.flush()
        else:
            self.http2.send([(b"x-sum", b"1")], stream)

    def answer(self) -> None:
        """Let an origin send data, end, break, or read slowly."""
        origin = self.random.choice(self.dialer.origins)
        if not origin.disconnected:
            break_off = (origin.end, origin.lose, lambda: origin.lose(ConnectionResetError()))
            events = (lambda: origin.feed(self.random.choice(ANSWERS)), *break_off, lambda: self.delay(origin))
            self.random.choice(events)()

    def delay(self, wire: Wire) -> None:
        """Let one side read slowly, or again."""
        if wire.producer is not None:
            self.random.choice((wire.choke, wire.unchoke))()

    def authenticate(self) -> None:
        """Complete a check of credentials."""
        check = self.gate.pending.pop()
        if not check.called:
            check.callback("carol")

    def step(self) -> None:
        """Let something happen."""
        steps = [self.open] * 4 + [
            lambda: self.clock.advance(self.random.choice(TIMES)),
            lambda: self.delay(self.client),
        ]
        if self.streams:
            steps += [self.send] * 3 + [self.disturb]
        if self.dialer.origins:
            steps += [self.answer] * 3
        if self.gate.pending:
            steps.append(self.authenticate)
        self.http2.acknowledge = self.random.random() < 0.5
        if self.random.random() < 0.003:
            self.proxy.parts.sessions.drain()
        # The client of this test sends nothing that its own state forbids.
        with contextlib.suppress(ProtocolError, KeyError):
            self.random.choice(steps)()

    def end(self) -> None:
        """Disconnect the client, and check what is left."""
        for wire in self.clients:
            wire.lose(self.random.choice((None, ConnectionResetError())))
        for origin in self.dialer.origins:
            if not origin.disconnected:
                origin.unchoke()
        self.proxy.pool.close()
        for _ in range(2):
            self.clock.advance(0)
        sessions = self.proxy.parts.sessions
        self.assertEqual((len(sessions), sessions.clients, sessions.streams), (0, 0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(origin.disconnected for origin in self.dialer.origins))

    def test_anything(self) -> None:
        for seed in range(RUNS):
            with self.subTest(seed):
                self.begin(seed)
                for _ in range(self.random.randrange(5, 60)):
                    if self.client.disconnecting or self.client.disconnected:
                        break
                    self.step()
                self.end()
