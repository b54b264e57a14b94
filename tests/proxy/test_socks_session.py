"""Tests for L{egress.proxy.socks_session}."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

from twisted.internet.address import IPv4Address

from egress.http.sniff import PREFACE
from egress.model.authority import Authority, Origin
from egress.model.decision import Stage
from egress.model.errors import AddressForbidden, ClientAuthBusy, ClientCredentialsRejected, OriginUnreachable
from egress.model.route import Purpose
from egress.proxy.client_auth import ANONYMOUS, CHECK_SECONDS, ClientAuthPolicy
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.proxy.socks_session import SocksFactory
from egress.tls.host_contexts import HostContexts, select_protocol
from egress.tls.issuer import CertificateAuthority
from egress.tls.name_constraints import name_constraints
from egress.transport.tls import ServerTls, TlsFactory
from tests.certificates import TestCA
from tests.proxy.fakes import ProxyTestCase, Wire, broken, content_of, deny, request, response, status_of
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import PlainEnd
from tests.proxy.test_client_auth import FakeAuthenticator
from tests.proxy.test_transparent import PLACEHOLDER, Names
from tests.proxy.test_tunnel_binding import basic
from tests.proxy.tunnels import connect as http_connect
from tests.proxy.tunnels import inner
from tests.socks.test_requests import connect, greeting, login
from tests.threads import immediately
from tests.transport.tls import TlsClient, TlsEnd, leaves, presenting

SUCCEEDED = b"\x05\x00\x00\x01\0\0\0\0\0\0"
ADDRESS = "203.0.113.9"


def reply(code: int) -> bytes:
    """A reply of the proxy."""
    return b"\x05%c" % code + SUCCEEDED[2:]


class SocksTestCase(ProxyTestCase):
    """A listener for SOCKS5 and HTTP."""

    auth_policy = ANONYMOUS

    def setUp(self) -> None:
        self.build(leaves=leaves())

    def connect(self, address: str = "198.51.100.7") -> Wire:
        factory = SocksFactory(self.proxy.parts, self.auth_policy, Names())
        peer = IPv4Address("TCP", address, 40000)
        wire = Wire(self.clock, peer)
        self.clients.append(wire)
        return wire.connect(factory.buildProtocol(peer))

    def exchange(self, *messages: bytes) -> list[bytes]:
        """Send messages one after the other, and return the responses."""
        responses = []
        for message in messages:
            self.client.feed(message)
            responses.append(self.client.take())
        return responses

    def tunnel(self, host: bytes | str = b"origin.test", port: int = 443) -> None:
        """Open a tunnel."""
        self.assertEqual(self.exchange(greeting(0), connect(host, port)), [b"\x05\x00", SUCCEEDED])

    def intercept(self, host: bytes | str = b"origin.test", server_name: str | None = "origin.test") -> TlsEnd:
        """Open a tunnel with TLS inside."""
        self.tunnel(host)
        return TlsClient(self.client, server_name).shake()

    def refused(self, answer: bytes) -> tuple[int, str]:
        return status_of(answer), json.loads(content_of(answer))["reason"]


class Http2Tests(SocksTestCase):
    """HTTP/2 without TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.authorizer.needs_body = False

    def request(self, client: Wire, authority: str) -> int:
        """Send a request; return the status of its response."""
        http2 = Http2Client(PlainEnd(client))  # type: ignore[arg-type]
        stream = http2.request(scheme="http", authority=authority)
        for origin in self.dialer.origins:
            origin.feed(response())
        http2.read()
        return http2.status(stream)

    def test_inside(self) -> None:
        for host in (b"origin.test", ADDRESS):
            with self.subTest(host):
                self.client = self.connect()
                self.tunnel(host, 80)
                self.assertEqual(self.request(self.client, "origin.test"), 200)

    def test_over_tls(self) -> None:
        """A client that has selected HTTP/2 cannot use SOCKS."""
        context = TestCA().issue("proxy.test").server_context()
        context.set_alpn_select_callback(select_protocol)
        inner = SocksFactory(self.proxy.parts, self.auth_policy, Names())
        factory = TlsFactory(ServerTls(context), False, inner, clock=self.clock)
        for first in (True, False):
            wire = Wire(self.clock).connect(factory.buildProtocol(None))
            self.clients.append(wire)
            tls = TlsClient(wire, None, context=presenting(None), protocols=[b"h2"]).shake()
            if first:
                tls.send(greeting(0))
                self.assertTrue(tls.closed)
                # The last frame is a GOAWAY.
                self.assertIn(b"the client does not start with the preface of HTTP/2", tls.take())
            else:
                http2 = Http2Client(tls)
                http2.request(scheme="http")
                self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")

    def test_instead(self) -> None:
        """A listener can permit it beside SOCKS5; by default, it rejects the preface."""
        for h2c, status in ((True, 200), (False, 505)):
            with self.subTest(status):
                factory = SocksFactory(self.proxy.parts, self.auth_policy, Names(), h2c=h2c)
                wire = Wire(self.clock).connect(factory.admit(""))
                self.clients.append(wire)
                if h2c:
                    self.assertEqual(self.request(wire, "origin.test"), status)
                else:
                    self.assertEqual(status_of(wire.feed(PREFACE).take()), status)


class NameTests(SocksTestCase):
    """A connection to a name continues as after a CONNECT."""

    def test_tls(self) -> None:
        tls = self.intercept()
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []), "there is no request yet")
        for path in ("/a", "/b"):
            tls.send(inner(path))
            self.origin.feed(response(path.encode()))
            self.assertEqual(content_of(tls.take()), path.encode())
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["https://origin.test/a", "https://origin.test/b"]
        )
        self.assertEqual(self.authorizer.asked[0].client.address, "198.51.100.7")
        self.assertEqual(self.dialer.checked, [(Origin("https", Authority("origin.test", 443)), Purpose.REQUEST)])
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_the_denial_is_sent_inside(self) -> None:
        self.authorizer.answers = [deny("because")]
        self.assertEqual(self.refused(self.intercept().send(inner()).take()), (403, "because"))

    def test_another_server_name(self) -> None:
        answer = self.intercept(server_name="other.test").send(inner(host="other.test")).take()
        self.assertEqual(self.refused(answer)[0], 421)
        self.assertEqual(self.authorizer.asked, [])

    def test_http(self) -> None:
        self.tunnel(port=80)
        for _ in range(2):
            self.client.feed(request(url="/a"))
            self.origin.feed(response())
            self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(self.authorizer.asked[1].url, "http://origin.test/a")
        self.client.feed(request(url="/a", host="other.test"))
        self.assertEqual(self.refused(self.client.take())[0], 421)

    def test_everything_at_once(self) -> None:
        """A client need not wait for the replies."""
        self.client.feed(greeting(0) + connect(b"origin.test", 80) + request(url="/a"))
        self.origin.feed(response())
        answer = self.client.take()
        self.assertTrue(answer.startswith(b"\x05\x00" + SUCCEEDED))
        self.assertEqual(status_of(answer[2 + len(SUCCEEDED) :]), 200)

    def test_byte_by_byte(self) -> None:
        for byte in greeting(0) + connect(b"origin.test", 80) + request(url="/a"):
            self.client.feed(bytes([byte]))
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")

    def test_another_protocol(self) -> None:
        self.tunnel(port=25)
        self.client.feed(b"\0\0hello")
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["tunnel-protocol-unknown"])

    def test_no_data(self) -> None:
        self.tunnel()
        self.clock.advance(self.proxy.limits.tls_timeout)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])

    def test_no_certificate_for_the_host(self) -> None:
        limited = CertificateAuthority.create("t", datetime.now(timezone.utc), limits=name_constraints(["signed.test"]))
        self.build(leaves=HostContexts(limited, 4, time.time, immediately))
        self.assertEqual(self.exchange(greeting(0), connect(b"origin.test")), [b"\x05\x00", reply(2)])
        self.assertEqual(self.outcomes(), ["certificate-not-permitted"])
        self.assertEqual((self.records[0].method, self.records[0].url), ("CONNECT", "origin.test:443"))


class PassthroughTests(SocksTestCase):
    """Hosts and ports without interception are relayed after the decision."""

    def test_relay(self) -> None:
        self.build(opaque_ports=(range(22, 23),))
        for host, url in ((b"origin.test", "origin.test"), (ADDRESS, ADDRESS), (PLACEHOLDER, "origin.test")):
            self.client = self.connect()
            self.tunnel(host, 22)
            asked = self.authorizer.asked.pop()
            self.assertEqual((asked.stage, asked.method, asked.url), (Stage.TUNNEL, "CONNECT", f"https://{url}:22"))
            self.origin.feed(b"SSH-2.0-x\r\n")
            self.assertEqual(self.exchange(b"SSH-2.0-y\r\n"), [b"SSH-2.0-x\r\n"])
            self.assertEqual(self.origin.take(), b"SSH-2.0-y\r\n")

    def test_denied(self) -> None:
        self.build(opaque_ports=(range(22, 23),))
        self.authorizer.answers = [deny()]
        self.assertEqual(self.exchange(greeting(0), connect(b"origin.test", 22)), [b"\x05\x00", reply(2)])
        self.assertTrue(self.client.disconnecting or self.client.write_closed)
        self.assertEqual((self.outcomes(), self.dialer.dialled), (["denied"], []))

    def test_errors(self) -> None:
        for where, error, code in (
            ("judgements", AddressForbidden("x"), 2),
            ("checks", AddressForbidden("x"), 2),
            ("dials", OriginUnreachable("x"), 4),
        ):
            self.build(opaque_ports=(range(22, 23),))
            getattr(self.dialer, where).append(error)
            self.assertEqual(self.exchange(greeting(0), connect(b"origin.test", 22)), [b"\x05\x00", reply(code)])

    def test_a_denied_host_is_intercepted(self) -> None:
        self.build(passthrough=("origin.test",), leaves=leaves())
        self.authorizer.answers = [deny("because")]
        self.assertEqual(self.refused(self.intercept().send(inner()).take()), (403, "because"))
        self.assertEqual(self.outcomes(), ["denied"])

    def test_the_server_name_of_an_address(self) -> None:
        self.build(passthrough=("origin.test",))
        self.tunnel(ADDRESS)
        hello = TlsClient(self.client, "origin.test").hello()
        self.assertEqual(self.exchange(hello), [b""], "there is no second reply")
        self.assertEqual((self.authorizer.asked[0].url, self.origin.take()), ("https://origin.test", hello))


class AddressTests(SocksTestCase):
    """A client that resolved the name itself tells the name by its first bytes."""

    def test_tls(self) -> None:
        for host in (ADDRESS, "2001:db8::9", ADDRESS.encode()):
            self.client = self.connect()
            self.intercept(host).send(inner())
            self.assertEqual(self.authorizer.asked.pop().url, "https://origin.test/a")
        self.assertEqual(self.dialer.looked_up, ["origin.test"] * 3, "the proxy resolves the name itself")

    def test_without_a_server_name(self) -> None:
        self.intercept(ADDRESS, None).send(inner(host=ADDRESS))
        self.assertEqual(self.authorizer.asked[0].url, f"https://{ADDRESS}/a")

    def test_http(self) -> None:
        self.client.feed(greeting(0) + connect(ADDRESS, 80) + request(url="/a"))
        self.origin.feed(response())
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")
        self.client.take()
        self.client.feed(request(url="/a", host="192.0.2.77"))
        self.assertEqual(self.refused(self.client.take())[0], 421)

    def test_no_tunnel_inside(self) -> None:
        self.tunnel(ADDRESS, 80)
        self.client.feed(http_connect())
        self.assertEqual(status_of(self.client.take()), 400)

    def test_the_name_of_a_placeholder(self) -> None:
        self.intercept(PLACEHOLDER, None).send(inner())
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test/a")

    def test_no_data(self) -> None:
        self.tunnel(ADDRESS)
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])


class HttpTests(SocksTestCase):
    """The listener serves HTTP as any other."""

    def test_requests(self) -> None:
        self.use_once()
        self.client.feed(http_connect())
        self.assertTrue(self.client.take().startswith(b"HTTP/1.1 200 "))
        TlsClient(self.client).shake().send(inner())
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["http://origin.test/a", "https://origin.test/a"]
        )

    def test_a_request_that_stops(self) -> None:
        self.client.feed(b"GET http://origin.test/a HT")
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertEqual(status_of(self.client.take()), 408)

    def test_a_listener_without_socks(self) -> None:
        client = self.proxy.client()
        self.clients.append(client)
        client.feed(greeting(0))
        self.assertIn("socks5=yes", self.refused(client.take())[1])


class RejectedTests(SocksTestCase):
    """Messages that end the connection."""

    def assert_closed(self, *outcomes: str) -> None:
        """Check that the connection is closed, and what is recorded."""
        self.assertTrue(self.client.disconnecting or self.client.disconnected or self.client.write_closed)
        self.assertEqual(self.outcomes(), list(outcomes))
        self.client.feed(b"more")
        self.assertEqual((self.client.take(), self.dialer.dialled), (b"", []))

    def test_malformed(self) -> None:
        for data, response_bytes, outcome in (
            (b"\x04\x01\x01\xbb\x7f\0\0\1\0", b"\0\x5b\0\0\0\0\0\0", "unsupported-request"),
            (b"\x05\x00", b"\x05\xff", "bad-request"),
            (greeting(1), b"\x05\xff", "unsupported-request"),
            (greeting(0) + b"\x04", b"\x05\x00" + reply(1), "bad-request"),
            (greeting(0) + connect(b"origin.test", command=2), b"\x05\x00" + reply(7), "unsupported-request"),
            (greeting(0) + connect(b"a b"), b"\x05\x00" + reply(1), "invalid-target"),
            (greeting(2) + login(b"a:b", b"c"), b"\x05\x02\x01\x01", "client-credentials-rejected"),
            (greeting(2) + b"\x05", b"\x05\x02\x01\x01", "bad-request"),
        ):
            with self.subTest(data):
                self.build(leaves=leaves())
                self.client.feed(data)
                self.assertEqual(self.client.take(), response_bytes)
                self.assert_closed(outcome)

    def test_timeouts(self) -> None:
        for data in (b"\x05", greeting(0), greeting(0) + b"\x05\x01", greeting(2) + b"\x01\x05ab"):
            with self.subTest(data):
                self.build(leaves=leaves())
                self.client.feed(data)
                self.client.take()
                self.clock.advance(self.proxy.limits.head_timeout)
                self.assert_closed("request-timeout")

    def test_an_idle_connection(self) -> None:
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assert_closed()

    def test_shutdown(self) -> None:
        self.client.feed(greeting(0))
        self.client.take()
        self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.assert_closed("request-timeout")

    def test_a_client_that_leaves(self) -> None:
        for data in (b"\x05", greeting(0), greeting(0) + b"\x05\x01"):
            client = self.connect()
            client.feed(data)
            client.end()
            self.assertTrue(client.disconnecting or client.disconnected)
        self.assertEqual(self.records, [])

    def test_limits(self) -> None:
        self.proxy.parts.limits = self.proxy.limits.__class__(connections=1)
        self.assertEqual(status_of(self.connect().take()), 503)


class UnverifiedTests(SocksTestCase):
    """Where no authentication is required, a name is a label."""

    def test_a_label(self) -> None:
        self.assertEqual(
            self.exchange(greeting(0, 2), login(b"job-7", b""), connect(b"origin.test", 80)),
            [b"\x05\x02", b"\x01\x00", SUCCEEDED],
        )
        self.client.feed(request(url="/a"))
        self.assertEqual(self.authorizer.asked[0].client.identity, "job-7")

    def test_labels_are_not_allowed(self) -> None:
        """Another listener verifies names."""
        self.auth_policy = ClientAuthPolicy(allow_unverified_names=False)
        self.client = self.connect()
        self.assertEqual(self.exchange(greeting(0, 2)), [b"\x05\x00"])
        self.client = self.connect()
        self.exchange(greeting(2), login(b"admin", b"x"), connect(b"origin.test", 80), request(url="/a"))
        self.assertIsNone(self.authorizer.asked[0].client.identity)


class AuthenticatedTests(SocksTestCase):
    """A listener that requires authentication."""

    def setUp(self) -> None:
        self.gate = FakeAuthenticator()
        self.gate.good[basic(b"ci:s3cret")] = "ci"
        self.auth_policy = ClientAuthPolicy(self.gate)
        super().setUp()

    def test_accepted(self) -> None:
        for host in (b"origin.test", ADDRESS):
            self.client = self.connect()
            self.assertEqual(
                self.exchange(greeting(0, 2), login(b"ci", b"s3cret"), connect(host, 80)),
                [b"\x05\x02", b"\x01\x00", SUCCEEDED],
            )
            self.client.feed(request(url="/a"))
            self.assertEqual(self.authorizer.asked.pop().client.identity, "ci", "without Proxy-Authorization")
        self.assertEqual(self.gate.asked, [])

    def test_no_login_offered(self) -> None:
        self.assertEqual(self.exchange(greeting(0)), [b"\x05\xff"])
        self.assertEqual(self.outcomes(), ["client-auth-required"])
        self.assertIn("socks5h://NAME:PASSWORD@", self.records[0].reason)

    def test_checked(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other") + connect(b"origin.test", 80) + request(url="/a"))
        self.assertEqual((self.client.take(), self.client.paused), (b"\x05\x02", True))
        self.assertEqual(self.gate.asked, [(basic(b"ci:other"), "198.51.100.7")])
        self.clock.advance(CHECK_SECONDS - 1)
        self.gate.pending.pop().callback("ci")
        self.assertEqual((self.client.take(), self.client.paused), (b"\x01\x00" + SUCCEEDED, False))
        self.assertEqual(self.authorizer.asked[0].client.identity, "ci")

    def test_rejected(self) -> None:
        for error, outcome in (
            (ClientCredentialsRejected("no"), "client-credentials-rejected"),
            (ClientAuthBusy("later"), "client-auth-busy"),
        ):
            self.build(leaves=leaves())
            self.client.feed(greeting(2) + login(b"ci", b"other") + connect(b"origin.test", 80))
            self.gate.pending.pop().errback(error)
            self.assertEqual(self.client.take(), b"\x05\x02\x01\x01")
            self.assertEqual((self.outcomes(), self.authorizer.asked), ([outcome], []))
            self.assertEqual((self.records[0].method, self.records[0].url), ("CONNECT", ""))

    def test_a_check_that_takes_too_long(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other"))
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.client.take(), b"\x05\x02\x01\x01")
        self.assertEqual(self.outcomes(), ["client-auth-busy"])

    def test_a_client_that_leaves(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other"))
        self.client.lose()
        self.assertEqual((self.gate.cancelled, self.outcomes()), (1, ["client-disconnected"]))

    def test_a_client_that_sends_no_request(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other"))
        self.client.end()
        self.gate.pending.pop().callback("ci")
        self.clock.advance(0)
        self.assertTrue(self.client.disconnecting or self.client.disconnected)
        self.assertEqual(self.records, [])

    def test_shutdown_during_a_check(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other"))
        self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.assertTrue(self.client.aborted)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_a_defect(self) -> None:
        self.client.feed(greeting(2) + login(b"ci", b"other"))
        self.patch(self.client, "write", broken)
        self.gate.pending.pop().callback("ci")
        self.assertTrue(self.client.aborted)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_defect_with_http(self) -> None:
        self.patch(self.gate, "check", broken)
        self.client.feed(request())
        self.assertEqual(status_of(self.client.take()), 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_http(self) -> None:
        self.client.feed(request())
        self.gate.asked.clear()
        self.assertEqual(status_of(self.client.take()), 407)


class CertificateTests(SocksTestCase):
    """A listener that requires a client certificate."""

    auth_policy = ClientAuthPolicy(certificate=lambda certificate: "runner")

    def test_no_certificate(self) -> None:
        self.assertEqual(self.exchange(greeting(0), connect(b"origin.test")), [b"\x05\x00", reply(2)])
        self.assertEqual(self.outcomes(), ["client-credentials-rejected"])
        self.assertEqual(self.records[0].url, "origin.test:443")
