"""Tests for L{egress.upstream.dial}, with the dialer that creates its objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionLost, NoRouteError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.model.authority import Authority, IPAddress, Origin, UpstreamHop, UpstreamProxy
from egress.model.errors import (
    AddressForbidden,
    EgressError,
    OriginCertificateInvalid,
    OriginConnectTimeout,
    OriginDisconnected,
    OriginTlsFailed,
    OriginUnreachable,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.model.phases import Mark, durations
from egress.model.route import Purpose, Route
from egress.tls.origin_trust import OriginTrust
from egress.upstream.connector import Dialer
from tests.certificates import TestCA, TestCertificate, self_signed
from tests.files import make_directory
from tests.proxy.fakes import Wire
from tests.transport.reactors import DialedRecorder, DialingReactor
from tests.transport.tls import TlsServer

HTTP = Origin("http", Authority("origin.test", 80))
HTTPS = Origin("https", Authority("origin.test", 443))
PROXY = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
TLS_PROXY = UpstreamProxy("https", Authority("proxy.test", 3129), b"Basic c2VjcmV0")


@lru_cache(maxsize=1)
def authority() -> TestCA:
    """Return the CA of origins and upstream proxies."""
    return TestCA()


@lru_cache(maxsize=8)
def certificate(*names: str, expired: bool = False) -> TestCertificate:
    """Return a certificate of that CA."""
    return authority().issue(*names, expired=expired)


class Guard:
    """An address guard that refuses the addresses that a test selects."""

    def __init__(self) -> None:
        self.refused: dict[object, str] = {}
        self.asked: list[object] = []
        self.own: tuple[str, int] | None = None

    def is_the_proxy(self, address: IPAddress, port: int) -> bool:
        return (str(address), port) == self.own

    def refusal(self, address: IPAddress, port: int) -> str | None:
        self.asked.append((str(address), port))
        return self.refused.get(str(address))

    def port_refusal(self, port: int) -> str | None:
        return self.refused.get(port)

    def name_refusal(self, authority: Authority) -> str | None:
        self.asked.append(authority)
        return self.refused.get(authority)


class DialTestCase(SynchronousTestCase):
    """A dialer in memory; each test verifies that no state remains."""

    trust: OriginTrust

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.reactor.names = {"origin.test": ["192.0.2.1", "192.0.2.2"], "proxy.test": ["192.0.2.9"]}
        self.guard = Guard()
        directory = make_directory(self)
        self.trust = OriginTrust(authority().write(directory))
        self.far = DialedRecorder()
        self.build()

    def build(self, **options: Any) -> None:
        """Create the dialer with other options."""
        self.dialer = Dialer(self.reactor, Limits(), self.guard, self.trust.connection_creator, **options)  # type: ignore[arg-type]

    def tearDown(self) -> None:
        for wire in self.reactor.wires:
            if not wire.aborted:
                wire.lose()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def check(self, origin: Origin = HTTP, purpose: Purpose = Purpose.REQUEST) -> Route:
        """Find a route."""
        return self.successResultOf(self.dialer.check(origin, purpose))

    def dial(self, origin: Origin = HTTP, purpose: Purpose = Purpose.REQUEST) -> Deferred[None]:
        """Find a route and dial it."""
        return self.dialer.dial(self.check(origin, purpose), self.far.dialed)

    def accept(self) -> Wire:
        """Make the last connection attempt succeed."""
        return self.reactor.attempts[-1].accept()

    def phases(self, connect: Callable[[], object], origin: Origin = HTTP) -> list[tuple[str, float]]:
        """Dial, connect after a second, and return the phases with their seconds."""
        marks: list[Mark] = []
        dialled = self.dialer.dial(self.check(origin), self.far.dialed, marks)
        self.reactor.advance(1)
        connect()
        self.successResultOf(dialled)
        return durations(marks, self.reactor.seconds() - marks[0][1])

    def failed(self, dialled: Deferred[Any], kind: type[EgressError]) -> str:
        """Verify the error of a failed dial, and that no connection remains."""
        error = self.failureResultOf(dialled, kind).value
        self.assertIs(type(error), kind)
        for wire in self.reactor.wires:
            self.assertTrue(wire.aborted or wire.disconnected)
        return str(error.reason)


class DirectTests(DialTestCase):
    """TCP connections without TLS."""

    def test_connects_to_the_checked_address(self) -> None:
        dialled = self.dial()
        attempt = self.reactor.attempts[0]
        self.assertEqual((attempt.host, attempt.port), ("192.0.2.1", 80))
        self.reactor.names["origin.test"] = ["127.0.0.1"]
        wire = self.accept()
        self.successResultOf(dialled)
        self.assertTrue(wire.no_delay)
        self.assertEqual(self.reactor.looked_up, ["origin.test"])
        wire.feed(b"x")
        self.assertEqual(self.far.received, b"x")

    def test_error_messages(self) -> None:
        for error, kind, text in (
            (Refused(), OriginUnreachable, "origin.test:80 refused the connection"),
            (NoRouteError(), OriginUnreachable, "origin.test:80 cannot be reached: no route"),
            (ConnectError(string="odd"), OriginUnreachable, "origin.test:80 cannot be reached: "),
            (RuntimeError("x"), OriginUnreachable, "origin.test:80 cannot be reached: RuntimeError"),
            (ConnectTimeout(), OriginConnectTimeout, "origin.test:80 did not accept a connection in time"),
        ):
            with self.subTest(text):
                self.reactor.attempts.clear()
                dialled = self.dial()
                for attempt in range(2):
                    self.reactor.attempts[attempt].fail(error)
                self.assertIn(text, self.failed(dialled, kind))
                self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_name_with_sixty_unresponsive_addresses(self) -> None:
        """All of them are classified, sixteen are tried, at most four at the same time."""
        self.reactor.names["origin.test"] = [f"192.0.2.{number}" for number in range(60)]
        dialled = self.dial()
        self.assertEqual(len(self.guard.asked), 61)
        most = 0
        for _ in range(15 * 8):
            most = max(most, sum(not attempt.given_up for attempt in self.reactor.attempts))
            self.reactor.advance(0.125)
        self.failed(dialled, OriginConnectTimeout)
        self.assertEqual((most, len(self.reactor.attempts)), (4, 16))

    def test_connect_timeout(self) -> None:
        dialled = self.dial()
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.attempts), 2)
        self.reactor.advance(14)
        self.failed(dialled, OriginConnectTimeout)
        self.assertTrue(all(attempt.given_up for attempt in self.reactor.attempts))

    def test_cancelled(self) -> None:
        dialled = self.dial()
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.assertTrue(self.reactor.attempts[0].given_up)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_events_after_ready(self) -> None:
        dialled = self.dial()
        wire = self.accept()
        self.far.dialed.attach()
        wire.lose()
        self.successResultOf(dialled)
        self.assertEqual(len(self.far.lost), 1)

    def test_lost_before_ready(self) -> None:
        dialled = self.dial()
        self.reactor.attempts[0].factory.buildProtocol(None).connectionLost(Failure(ConnectionLost()))
        self.failed(dialled, OriginDisconnected)

    def test_ready_after_cancellation(self) -> None:
        dialled = self.dial()
        protocol = self.reactor.attempts[0].factory.buildProtocol(None)
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.reactor.wires.append(Wire(self.reactor).connect(protocol))


class PhaseTests(DialTestCase):
    """The beginning of each phase is recorded."""

    def shake(self, wire: Wire | TlsServer, name: str, seconds: float) -> TlsServer:
        """Complete a TLS handshake, after a time."""
        self.reactor.advance(seconds)
        server = TlsServer(wire, certificate(name))
        server.shake()
        return server

    def test_plain(self) -> None:
        self.assertEqual(self.phases(self.accept), [("connect", 1)])

    def test_tls(self) -> None:
        self.assertEqual(
            self.phases(lambda: self.shake(self.accept(), "origin.test", 2), HTTPS), [("connect", 1), ("tls", 2)]
        )

    def test_upstream_proxy(self) -> None:
        self.build(upstream_http=PROXY)
        self.assertEqual(self.phases(self.accept), [("dns", 0), ("connect", 1)])

    def test_all(self) -> None:
        self.build(upstream_https=TLS_PROXY)

        def connect() -> None:
            proxy = self.shake(self.accept(), "proxy.test", 2)
            self.reactor.advance(3)
            self.assertIn(b"CONNECT origin.test:443", proxy.take())
            proxy.send(UpstreamTests.ESTABLISHED)
            self.shake(proxy, "origin.test", 4)

        self.assertEqual(
            self.phases(connect, HTTPS),
            [("dns", 0), ("connect", 1), ("upstream-tls", 2), ("upstream-connect", 3), ("tls", 4)],
        )

    def test_failure(self) -> None:
        marks: list[Mark] = []
        dialled = self.dialer.dial(self.check(HTTPS), self.far.dialed, marks)
        self.accept()
        self.reactor.advance(30)
        self.failed(dialled, OriginConnectTimeout)
        self.assertEqual([name for name, _ in marks], ["connect", "tls"])


class TlsTests(DialTestCase):
    """TLS to the origin: no data is sent before the origin is verified."""

    def test_valid_certificate(self) -> None:
        dialled = self.dial(HTTPS)
        self.assertEqual(self.reactor.attempts[0].port, 443)
        wire = self.accept()
        self.assertNoResult(dialled)
        server = TlsServer(wire, certificate("origin.test"))
        server.shake()
        self.successResultOf(dialled)
        self.assertEqual(server.connection.get_servername(), b"origin.test")
        self.assertTrue(wire.no_delay)
        self.far.dialed.transport.write(b"request")
        self.assertEqual(server.take(), b"request")
        server.send(b"answer")
        self.assertEqual(self.far.received, b"answer")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_application_protocols(self) -> None:
        """HTTP/2 is offered only if the caller asks for it, and never to an upstream proxy."""
        for http2, through in ((False, False), (True, False), (True, True)):
            self.build(upstream_https=TLS_PROXY if through else None)
            dialled = self.dialer.dial(self.check(HTTPS), self.far.dialed, http2=http2)
            below: Any = self.accept()
            if through:
                below = TlsServer(below, certificate("proxy.test"))
                below.shake()
                below.take()
                below.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.assertEqual(below.offered, [b"http/1.1"])
            server = TlsServer(below, certificate("origin.test"))
            server.shake()
            self.successResultOf(dialled)
            self.assertEqual(server.offered, [b"h2", b"http/1.1"] if http2 else [b"http/1.1"])

    def test_invalid_certificates(self) -> None:
        for made, text in (
            (certificate("other.test"), "is for another host: other.test"),
            (certificate("origin.test", expired=True), "has expired"),
            (self_signed("origin.test"), "is self-signed"),
        ):
            with self.subTest(text):
                dialled = self.dial(HTTPS)
                server = TlsServer(self.accept(), made)
                try:
                    server.shake()
                    server.read()
                except Exception as error:
                    self.assertNotIsInstance(error, AssertionError)
                self.reactor.advance(0)
                self.assertIn(text, self.failed(dialled, OriginCertificateInvalid))
                self.assertEqual(server.plain, b"")

    def test_no_tls(self) -> None:
        dialled = self.dial(HTTPS)
        wire = self.accept()
        wire.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertIn("does not use TLS", self.failed(dialled, OriginTlsFailed))

    def test_closed_during_the_handshake(self) -> None:
        dialled = self.dial(HTTPS)
        self.accept().lose(ConnectionLost())
        self.assertIn("the connection was closed", self.failed(dialled, OriginTlsFailed))

    def test_handshake_timeout(self) -> None:
        dialled = self.dial(HTTPS)
        self.reactor.advance(10)
        self.reactor.attempts[0].accept()
        self.reactor.advance(14.9)
        self.assertNoResult(dialled)
        self.reactor.advance(0.2)
        self.assertIn(
            "the TLS handshake with origin.test:443 was not complete in time",
            self.failed(dialled, OriginConnectTimeout),
        )
        self.reactor.advance(0)

    def test_cancelled_during_the_handshake(self) -> None:
        dialled = self.dial(HTTPS)
        wire = self.accept()
        self.far.dialed.attach()
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.assertTrue(wire.aborted)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.far.lost), 1)


class UpstreamTests(DialTestCase):
    """Connections through the upstream proxy."""

    ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

    def tunnel(self, origin: Origin = HTTPS, purpose: Purpose = Purpose.TUNNEL) -> tuple[Deferred[None], Wire]:
        """Dial until the CONNECT is sent."""
        self.build(upstream_http=PROXY, upstream_https=PROXY)
        dialled = self.dial(origin, purpose)
        attempt = self.reactor.attempts[-1]
        self.assertEqual((attempt.host, attempt.port), ("192.0.2.9", 3128))
        wire = self.accept()
        self.assertNoResult(dialled)
        sent = wire.take()
        self.assertTrue(sent.startswith(b"CONNECT %b HTTP/1.1\r\n" % str(origin.authority).encode()))
        self.assertIn(b"Proxy-Authorization: Basic c2VjcmV0\r\n", sent)
        return dialled, wire

    def test_the_proxy_itself(self) -> None:
        """A name of this machine in HTTP_PROXY: the requests would return without end."""
        self.guard.own = ("192.0.2.9", 3128)
        self.build(upstream_http=PROXY, upstream_https=PROXY)
        for origin in (HTTP, HTTPS):
            error = self.failureResultOf(self.dial(origin), UpstreamUnreachable).value
            self.assertIn("proxy.test:3128 is this proxy itself", error.reason)
        self.assertEqual(self.reactor.attempts, [])

    def test_no_tunnel_for_absolute_form(self) -> None:
        self.build(upstream_http=PROXY)
        dialled = self.dial()
        wire = self.accept()
        self.successResultOf(dialled)
        self.assertEqual(wire.written, b"")

    def test_tunnel(self) -> None:
        dialled, wire = self.tunnel()
        wire.feed(self.ESTABLISHED[:20])
        self.assertNoResult(dialled)
        wire.feed(self.ESTABLISHED[20:] + b"banner")
        self.successResultOf(dialled)
        self.assertEqual(self.far.received, b"banner")
        wire.feed(b" more")
        self.assertEqual(self.far.received, b"banner more")
        self.far.dialed.attach()
        wire.lose()
        self.assertEqual(len(self.far.lost), 1)

    def test_tls_through_a_tunnel(self) -> None:
        dialled, wire = self.tunnel(purpose=Purpose.REQUEST)
        wire.feed(self.ESTABLISHED)
        self.assertNoResult(dialled)
        server = TlsServer(wire, certificate("origin.test"))
        server.shake()
        self.successResultOf(dialled)
        self.far.dialed.transport.write(b"request")
        self.assertEqual(server.take(), b"request")

    def test_tls_to_the_proxy(self) -> None:
        self.build(upstream_http=TLS_PROXY)
        dialled = self.dial()
        server = TlsServer(self.accept(), certificate("proxy.test"))
        server.shake()
        self.successResultOf(dialled)
        self.assertEqual(server.take(), b"")

    def test_tls_through_a_tunnel_in_tls(self) -> None:
        self.build(upstream_https=TLS_PROXY)
        dialled = self.dial(HTTPS)
        proxy = TlsServer(self.accept(), certificate("proxy.test"))
        proxy.shake()
        self.assertIn(b"CONNECT origin.test:443", proxy.take())
        proxy.send(self.ESTABLISHED)
        self.assertNoResult(dialled)
        server = TlsServer(proxy, certificate("origin.test"))
        server.shake()
        self.successResultOf(dialled)
        self.far.dialed.transport.write(b"request")
        self.assertEqual(server.take(), b"request")
        server.send(b"answer")
        self.assertEqual(self.far.received, b"answer")

    def test_invalid_certificate_of_the_proxy(self) -> None:
        self.build(upstream_https=TLS_PROXY)
        dialled = self.dial(HTTPS)
        proxy = TlsServer(self.accept(), certificate("other.test"))
        try:
            proxy.shake()
            proxy.read()
        except Exception as error:
            self.assertNotIsInstance(error, AssertionError)
        self.reactor.advance(0)
        self.assertIn(
            "the TLS session with the upstream proxy proxy.test:3129 failed", self.failed(dialled, UpstreamUnreachable)
        )
        self.assertEqual(proxy.plain, b"", "no credentials went out")

    def test_refused(self) -> None:
        dialled, wire = self.tunnel()
        wire.feed(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        error = self.failureResultOf(dialled, UpstreamRefused).value
        self.assertEqual(error.status, 407)
        self.assertTrue(wire.aborted)
        self.assertNotIn("c2VjcmV0", error.reason)
        # Further data may follow immediately.
        wire.protocol.dataReceived(b"HTTP/1.1 500 x\r\n\r\n")
        self.assertEqual(self.far.received, b"")

    def test_response_is_not_http(self) -> None:
        dialled, wire = self.tunnel()
        wire.feed(b"SSH-2.0\r\n")
        self.failed(dialled, UpstreamUnreachable)

    def test_proxy_closes_the_connection(self) -> None:
        dialled, wire = self.tunnel()
        wire.lose()
        self.assertIn("closed the connection before it responded", self.failed(dialled, UpstreamUnreachable))

    def test_connect_response_timeout(self) -> None:
        dialled, _ = self.tunnel()
        self.reactor.advance(15)
        self.assertIn("proxy.test:3128 did not respond in time", self.failed(dialled, UpstreamTimeout))
        self.reactor.advance(0)

    def test_proxy_refuses_the_connection(self) -> None:
        for error, kind in ((Refused(), UpstreamUnreachable), (ConnectTimeout(), UpstreamTimeout)):
            self.build(upstream_http=PROXY)
            dialled = self.dial()
            self.reactor.attempts[-1].fail(error)
            self.failed(dialled, kind)

    def test_proxy_cannot_be_resolved(self) -> None:
        self.build(upstream_http=PROXY)
        self.reactor.names["proxy.test"] = []
        self.assertIn("proxy.test", self.failed(self.dial(), UpstreamUnreachable))
        del self.reactor.names["proxy.test"]
        dialled = self.dial()
        self.reactor.advance(10)
        self.failed(dialled, UpstreamTimeout)

    def test_cancelled_in_each_phase(self) -> None:
        self.build(upstream_http=PROXY)
        del self.reactor.names["proxy.test"]
        dialled = self.dial()
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.reactor.names["proxy.test"] = ["192.0.2.9"]
        dialled = self.dial()
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.assertTrue(self.reactor.attempts[-1].given_up)
        dialled, wire = self.tunnel()
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)
        self.assertTrue(wire.aborted)

    def test_proxy_addresses_are_not_classified(self) -> None:
        self.build(upstream_http=PROXY)
        self.guard.refused = {"192.0.2.9": "private"}
        dialled = self.dial()
        self.accept()
        self.successResultOf(dialled)
        self.assertNotIn((str(IPv4Address("192.0.2.9")), 3128), self.guard.asked)


SOCKS = UpstreamProxy("socks5h", Authority("proxy.test", 1080))
SOCKS_BY_ADDRESS = UpstreamProxy("socks5", Authority("proxy.test", 1080))
REPLY = b"\x05\x00\x00\x01\0\0\0\0\0\0"


class SocksUpstreamTests(DialTestCase):
    """Connections through an upstream proxy that speaks SOCKS5."""

    def tunnel(self, origin: Origin = HTTPS, purpose: Purpose = Purpose.TUNNEL) -> tuple[Deferred[None], Wire]:
        """Dial until the request is sent."""
        dialled = self.dial(origin, purpose)
        self.assertEqual(self.reactor.attempts[-1].port, 1080)
        wire = self.accept()
        self.assertEqual(wire.take(), b"\x05\x01\x00")
        wire.feed(b"\x05\x00")
        return dialled, wire

    def test_names(self) -> None:
        self.build(upstream_http=SOCKS, upstream_https=SOCKS)
        for origin, purpose, port in (
            (HTTPS, Purpose.TUNNEL, b"\x01\xbb"),
            (HTTP, Purpose.REQUEST, b"\x00\x50"),
            (HTTP, Purpose.UPGRADE, b"\x00\x50"),
        ):
            dialled, wire = self.tunnel(origin, purpose)
            self.assertEqual(wire.take(), b"\x05\x01\x00\x03\x0borigin.test" + port)
            self.assertNoResult(dialled)
            wire.feed(REPLY + b"early")
            self.successResultOf(dialled)
            self.assertEqual(self.far.received, b"early")
            self.far = DialedRecorder()
        self.assertEqual(set(self.reactor.looked_up), {"proxy.test"})

    def test_absolute_form(self) -> None:
        """An HTTP origin receives the requests itself."""
        self.build(upstream_http=SOCKS, upstream_https=SOCKS)
        route = self.check(HTTP)
        self.assertEqual((route.absolute_form, route.connect, route.addresses), (False, True, ()))

    def test_tls(self) -> None:
        self.build(upstream_https=SOCKS)
        dialled, wire = self.tunnel(purpose=Purpose.REQUEST)
        wire.take()
        wire.feed(REPLY)
        server = TlsServer(wire, certificate("origin.test"))
        server.shake()
        self.successResultOf(dialled)

    def test_addresses(self) -> None:
        """The proxy resolves the name, checks each address, and sends one."""
        self.build(upstream_http=SOCKS_BY_ADDRESS, upstream_https=SOCKS_BY_ADDRESS)
        self.assertIsNone(self.dialer.judge(HTTPS, Purpose.REQUEST))
        route = self.check(HTTPS)
        self.assertEqual([str(address) for address in route.addresses], ["192.0.2.1", "192.0.2.2"])
        self.assertTrue(route.is_looked_up)
        dialled, wire = self.tunnel()
        self.assertEqual(wire.take(), b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb")
        wire.feed(b"\x05\x05\x00")
        self.assertTrue(wire.aborted)
        self.assertNoResult(dialled)
        wire = self.accept()
        wire.feed(b"\x05\x00")
        self.assertTrue(wire.take().endswith(b"\x01\xc0\x00\x02\x02\x01\xbb"), "the other address follows")
        wire.feed(REPLY)
        self.successResultOf(dialled)

    def test_forbidden_address(self) -> None:
        self.build(upstream_https=SOCKS_BY_ADDRESS)
        self.guard.refused["192.0.2.2"] = "not this one"
        self.failureResultOf(self.dialer.check(HTTPS, Purpose.REQUEST), AddressForbidden)
        self.assertEqual(self.reactor.attempts, [])
        literal = Origin("https", Authority("192.0.2.2", 443))
        for upstream in (SOCKS, SOCKS_BY_ADDRESS):
            self.build(upstream_https=upstream)
            self.failureResultOf(self.dialer.check(literal, Purpose.REQUEST), AddressForbidden)

    def test_errors(self) -> None:
        self.build(upstream_https=SOCKS)
        for data, kind, words in (
            (b"\x05\x02", UpstreamRefused, "its rules do not allow the connection"),
            (b"HTTP/1.1 400 x\r\n\r\n", UpstreamUnreachable, "did not respond with SOCKS5"),
        ):
            dialled, wire = self.tunnel()
            wire.feed(data)
            self.assertIn(words, self.failureResultOf(dialled, kind).value.reason)
            self.assertTrue(wire.aborted)
        dialled, wire = self.tunnel()
        wire.lose()
        text = "the upstream proxy proxy.test:1080 closed the connection before it responded to the CONNECT"
        self.assertEqual(self.failureResultOf(dialled, UpstreamUnreachable).value.reason, text)
        dialled, wire = self.tunnel()
        self.reactor.advance(Limits().tls_timeout)
        text = "the upstream proxy proxy.test:1080 did not respond in time"
        self.assertEqual(self.failureResultOf(dialled, UpstreamTimeout).value.reason, text)


class ChainTests(DialTestCase):
    """Connections through two upstream proxies."""

    CONNECT = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n"
    ESTABLISHED = UpstreamTests.ESTABLISHED

    def chain(self, second: str, first: str) -> UpstreamProxy:
        """A chain of two proxies."""
        return UpstreamProxy(
            second, Authority("second.test", 3129), b"Basic c2VjcmV0", UpstreamHop(first, Authority("proxy.test", 3128))
        )

    def dial_through(self, second: str, first: str, origin: Origin = HTTPS) -> tuple[Deferred[None], Wire]:
        """Dial, and connect to the first proxy."""
        upstream = self.chain(second, first)
        self.build(upstream_http=upstream, upstream_https=upstream)
        self.marks: list[Mark] = []
        dialled = self.dialer.dial(self.check(origin), self.far.dialed, self.marks)
        attempt = self.reactor.attempts[-1]
        self.assertEqual((attempt.host, attempt.port), ("192.0.2.9", 3128))
        return dialled, self.accept()

    def connect(self, end: Any, scheme: str, target: str) -> None:
        """Respond to a request for a tunnel, as a proxy does."""
        if scheme.startswith("socks"):
            greeting = end.take()
            self.assertEqual(greeting[0], 5)
            end.feed(b"\x05\x00")
            host, _, port = target.partition(":")
            name = b"%c%b" % (len(host), host.encode())
            self.assertEqual(end.take(), b"\x05\x01\x00\x03" + name + int(port).to_bytes(2, "big"))
            end.feed(REPLY)
        else:
            self.assertTrue(end.take().startswith(b"CONNECT %b HTTP/1.1\r\n" % target.encode()))
            end.feed(self.ESTABLISHED)

    def test_each_combination(self) -> None:
        for first in ("http", "socks5h"):
            for second in ("http", "socks5h"):
                with self.subTest(first, second=second):
                    self.far = DialedRecorder()
                    dialled, wire = self.dial_through(second, first)
                    self.connect(wire, first, "second.test:3129")
                    self.connect(wire, second, "origin.test:443")
                    server = TlsServer(wire, certificate("origin.test"))
                    server.shake()
                    self.successResultOf(dialled)
                    self.far.dialed.transport.write(b"request")
                    self.assertEqual(server.take(), b"request")
        names = [name for name, _ in self.marks]
        self.assertEqual(names, ["dns", "connect", "upstream-connect", "upstream-connect", "tls"])

    def test_tls_with_both(self) -> None:
        dialled, wire = self.dial_through("https", "https")
        first = TlsServer(wire, certificate("proxy.test"))
        first.shake()
        self.assertIn(b"CONNECT second.test:3129 HTTP/1.1\r\n", first.take())
        first.send(self.ESTABLISHED)
        second = TlsServer(first, certificate("second.test"))
        second.shake()
        request = second.take()
        self.assertIn(b"CONNECT origin.test:443 HTTP/1.1\r\n", request)
        self.assertIn(b"Proxy-Authorization: Basic c2VjcmV0\r\n", request, "only the second proxy receives them")
        second.send(self.ESTABLISHED)
        server = TlsServer(second, certificate("origin.test"))
        server.shake()
        self.successResultOf(dialled)
        names = [name for name, _ in self.marks]
        self.assertEqual(
            names, ["dns", "connect", "upstream-tls", "upstream-connect", "upstream-tls", "upstream-connect", "tls"]
        )

    def test_absolute_form(self) -> None:
        """The second proxy reads the requests for HTTP origins."""
        dialled, wire = self.dial_through("http", "socks5h", HTTP)
        self.connect(wire, "socks5h", "second.test:3129")
        self.successResultOf(dialled)
        self.far.dialed.transport.write(b"GET http://origin.test/ HTTP/1.1\r\n")
        self.assertEqual(wire.take(), b"GET http://origin.test/ HTTP/1.1\r\n")

    def test_errors_name_the_proxy(self) -> None:
        dialled, wire = self.dial_through("http", "http")
        wire.feed(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        reason = self.failureResultOf(dialled, UpstreamRefused).value.reason
        self.assertIn("the upstream proxy proxy.test:3128 refused the connection with 403", reason)
        dialled, wire = self.dial_through("http", "http")
        wire.feed(self.ESTABLISHED + b"HTTP/1.1 403 Forbidden\r\n\r\n")
        reason = self.failureResultOf(dialled, UpstreamRefused).value.reason
        self.assertIn("the upstream proxy second.test:3129 refused the connection with 403", reason)
        for data, name in ((b"", "proxy.test:3128"), (self.ESTABLISHED, "second.test:3129")):
            dialled, wire = self.dial_through("http", "http")
            if data:
                wire.feed(data)
            self.reactor.advance(Limits().tls_timeout)
            reason = self.failureResultOf(dialled, UpstreamTimeout).value.reason
            self.assertEqual(reason, f"the upstream proxy {name} did not respond in time")
            dialled, wire = self.dial_through("http", "http")
            if data:
                wire.feed(data)
            wire.lose()
            reason = self.failureResultOf(dialled, UpstreamUnreachable).value.reason
            self.assertIn(f"the upstream proxy {name} closed the connection", reason)
        dialled, wire = self.dial_through("https", "http")
        self.connect(wire, "http", "second.test:3129")
        server = TlsServer(wire, certificate("other.test"))
        try:
            server.shake()
            server.read()
        except Exception as error:
            self.assertNotIsInstance(error, AssertionError)
        self.reactor.advance(0)
        reason = self.failureResultOf(dialled, UpstreamUnreachable).value.reason
        self.assertIn("the TLS session with the upstream proxy second.test:3129 failed", reason)
