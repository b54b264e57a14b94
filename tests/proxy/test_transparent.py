"""Tests for L{egress.proxy.transparent}."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

from twisted.internet.address import IPv4Address
from zope.interface import implementer

from egress.interfaces import IPlaceholderNames
from egress.model.authority import Authority, Origin
from egress.model.decision import Stage
from egress.model.route import Purpose
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.proxy.transparent import TransparentFactory
from egress.tls.host_contexts import HostContexts
from egress.tls.issuer import CertificateAuthority
from egress.tls.name_constraints import name_constraints
from tests.proxy.fakes import ProxyTestCase, Wire, content_of, deny, request, response, status_of
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import PlainEnd
from tests.proxy.tunnels import inner
from tests.threads import immediately
from tests.transport.tls import TlsClient, TlsEnd, leaves

ADDRESS = "203.0.113.9"
PLACEHOLDER = "198.18.0.1"


@implementer(IPlaceholderNames)
class Names:
    """One placeholder address."""

    def name_of(self, address: str) -> str | None:
        """See L{IPlaceholderNames.name_of}."""
        return "origin.test" if address == PLACEHOLDER else None


class TransparentTestCase(ProxyTestCase):
    """A proxy with a transparent listener."""

    def setUp(self) -> None:
        self.build(leaves=leaves())

    def redirected(self, host: str = ADDRESS, port: int = 443, *, direct: bool = False) -> Wire:
        """Connect a client that meant another address."""
        factory = TransparentFactory(
            self.proxy.parts,
            names=Names(),
            find_original=lambda transport: None if direct else Authority(host, port),
        )
        peer = IPv4Address("TCP", "198.51.100.8", 40000)
        wire = Wire(self.clock, peer)
        self.clients.append(wire)
        return wire.connect(factory.buildProtocol(peer))

    def intercepted(self, server_name: str | None, host: str = ADDRESS, port: int = 443) -> TlsEnd:
        """Connect a client that starts TLS."""
        return TlsClient(self.redirected(host, port), server_name).shake()

    def refused(self, answer: bytes) -> tuple[int, str]:
        return status_of(answer), json.loads(content_of(answer))["reason"]


class TlsTests(TransparentTestCase):
    """TLS connections are intercepted, as after a CONNECT."""

    def test_the_server_name_determines_the_host(self) -> None:
        tls = self.intercepted("origin.test")
        self.assertEqual(self.authorizer.asked, [], "there is no request yet")
        for path in ("/a", "/b"):
            tls.send(inner(path))
            self.origin.feed(response(path.encode()))
            self.assertEqual(content_of(tls.take()), path.encode())
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["https://origin.test/a", "https://origin.test/b"]
        )
        self.assertEqual(self.authorizer.asked[0].client.address, "198.51.100.8")
        self.assertEqual(
            self.dialer.checked,
            [(Origin("https", Authority("origin.test", 443)), Purpose.REQUEST)],
            "the proxy resolves the name itself, whatever the client resolved",
        )
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_the_port_is_the_original_one(self) -> None:
        self.intercepted("origin.test", port=8443).send(inner(host="origin.test:8443"))
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test:8443/a")

    def test_without_a_server_name(self) -> None:
        self.intercepted(None).send(inner(host=ADDRESS))
        self.assertEqual(self.authorizer.asked[0].url, f"https://{ADDRESS}/a")
        self.assertEqual(self.dialer.checked, [], "an address is not resolved")

    def test_a_denial_is_sent_over_tls(self) -> None:
        self.authorizer.answers = [deny("because")]
        answer = self.intercepted("origin.test").send(inner()).take()
        self.assertEqual(self.refused(answer), (403, "because"))

    def test_another_host(self) -> None:
        answer = self.intercepted("origin.test").send(inner(host="other.test")).take()
        self.assertEqual(self.refused(answer)[0], 421)
        self.assertEqual(self.authorizer.asked, [])

    def test_http2_without_tls(self) -> None:
        """The name of a placeholder address binds the requests."""
        self.authorizer.needs_body = False
        http2 = Http2Client(PlainEnd(self.redirected(PLACEHOLDER, 80)))  # type: ignore[arg-type]
        self.assertEqual(http2.status(http2.request(scheme="http", authority="other.test")), 421)
        http2.request(scheme="http", authority="origin.test")
        self.assertEqual([asked.url for asked in self.authorizer.asked], ["http://origin.test/a"])

    def test_the_hello_can_arrive_in_pieces(self) -> None:
        client = self.redirected()
        tls = TlsClient(client, "origin.test")
        hello = tls.hello()
        for at in range(0, len(hello), 40):
            self.assertEqual(client.take(), b"")
            client.feed(hello[at : at + 40])
        tls.connection.bio_write(client.take())
        tls.shake().send(inner())
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test/a")

    def test_a_server_name_that_is_no_host(self) -> None:
        answer = self.intercepted("a b").send(inner(host=ADDRESS)).take()
        self.assertEqual(self.refused(answer)[0], 421)
        self.assertEqual(self.authorizer.asked, [])

    def test_a_hello_that_cannot_be_parsed(self) -> None:
        client = self.redirected()
        client.feed(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
        self.assertTrue(client.disconnected or client.disconnecting)
        self.assertEqual(self.outcomes(), ["client-tls-failed"])

    def test_no_certificate_for_the_host(self) -> None:
        limited = CertificateAuthority.create("t", datetime.now(timezone.utc), limits=name_constraints(["signed.test"]))
        self.build(leaves=HostContexts(limited, 4, time.time, immediately))
        client = self.redirected()
        client.feed(TlsClient(client, "origin.test").hello())
        self.assertTrue(client.aborted)
        self.assertEqual(self.outcomes(), ["certificate-not-permitted"])
        self.assertEqual(self.records[0].url, "origin.test:443")


class PlaceholderTests(TransparentTestCase):
    """The client connected to the placeholder address of a name."""

    def test_tls(self) -> None:
        for server_name in ("origin.test", None):
            self.intercepted(server_name, PLACEHOLDER).send(inner())
            self.assertEqual(self.authorizer.asked.pop().url, "https://origin.test/a")

    def test_another_server_name(self) -> None:
        answer = self.intercepted("other.test", PLACEHOLDER).send(inner()).take()
        self.assertEqual(self.refused(answer)[0], 421)
        self.assertEqual(self.authorizer.asked, [])

    def test_http(self) -> None:
        client = self.redirected(PLACEHOLDER, 80)
        client.feed(request(url="/a"))
        self.origin.feed(response())
        self.assertEqual(status_of(client.take()), 200)
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")
        client.feed(request(url="/a", host="other.test"))
        self.assertEqual(self.refused(client.take())[0], 421)


class HttpTests(TransparentTestCase):
    """Each request in clear text names its host."""

    def test_host(self) -> None:
        client = self.redirected(port=80)
        for host in ("origin.test", "other.test"):
            client.feed(request(url="/a", host=host))
            self.origin.feed(response())
            self.assertEqual(status_of(client.take()), 200)
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["http://origin.test/a", "http://other.test/a"]
        )
        self.assertEqual(self.dialer.looked_up, ["origin.test", "other.test"])
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_the_address_without_a_name(self) -> None:
        client = self.redirected(port=80)
        client.feed(b"GET /a HTTP/1.0\r\n\r\n")
        self.origin.feed(response())
        self.assertEqual(self.authorizer.asked[0].url, f"http://{ADDRESS}/a")

    def test_an_absolute_url(self) -> None:
        self.redirected(port=80).feed(request())
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")

    def test_misdirected(self) -> None:
        for text in (
            request(url="/a", host="192.0.2.77"),
            request(url="/a", host="origin.test:81"),
            request(url="http://a.test/", host="b.test"),
            request(url="https://origin.test/"),
        ):
            with self.subTest(text):
                client = self.redirected(port=80)
                client.feed(text)
                self.assertIn(status_of(client.take()), (400, 421))
        self.assertEqual(self.authorizer.asked, [])

    def test_no_tunnel(self) -> None:
        client = self.redirected(port=80)
        client.feed(request("CONNECT", "origin.test:443", host="origin.test:443"))
        self.assertEqual(status_of(client.take()), 400)

    def test_the_request_can_arrive_in_pieces(self) -> None:
        client = self.redirected(port=80)
        for byte in request(url="/a"):
            client.feed(bytes([byte]))
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/a")


class PassthroughTests(TransparentTestCase):
    """Hosts and ports without interception are relayed."""

    def test_server_name(self) -> None:
        self.build(passthrough=("origin.test",))
        client = self.redirected()
        hello = TlsClient(client, "origin.test").hello()
        client.feed(hello)
        self.assertEqual(self.authorizer.asked[0].stage, Stage.TUNNEL)
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test")
        self.assertEqual(self.origin.take(), hello)
        self.origin.feed(b"reply")
        self.assertEqual(client.take(), b"reply", "there is no response to a CONNECT")

    def test_a_denial_is_sent_over_tls(self) -> None:
        self.build(passthrough=("origin.test",), leaves=leaves())
        self.authorizer.answers = [deny("because")]
        answer = self.intercepted("origin.test").send(inner()).take()
        self.assertEqual(self.refused(answer), (403, "because"))
        self.assertEqual(self.outcomes(), ["denied"])

    def test_the_server_can_send_first(self) -> None:
        self.build(opaque_ports=(range(22, 23),))
        for host, url in ((PLACEHOLDER, "https://origin.test:22"), (ADDRESS, f"https://{ADDRESS}:22")):
            client = self.redirected(host, 22)
            self.assertEqual(self.authorizer.asked.pop().url, url)
            self.origin.feed(b"SSH-2.0-x\r\n")
            self.assertEqual(client.take(), b"SSH-2.0-x\r\n")

    def test_a_denied_port_is_closed(self) -> None:
        self.build(opaque_ports=(range(22, 23),))
        self.authorizer.answers = [deny()]
        client = self.redirected(PLACEHOLDER, 22)
        self.assertTrue(client.aborted)
        self.assertEqual((client.take(), self.outcomes(), self.dialer.dialled), (b"", ["denied"], []))


class OtherConnectionsTests(TransparentTestCase):
    """Connections that carry no request."""

    def test_another_protocol(self) -> None:
        client = self.redirected(port=25)
        client.feed(b"\0\0hello")
        self.assertTrue(client.aborted)
        self.assertEqual(self.outcomes(), ["tunnel-protocol-unknown"])
        self.assertIn("--opaque-ports", self.records[0].reason)
        self.assertEqual(self.records[0].url, f"{ADDRESS}:25")

    def test_no_data(self) -> None:
        client = self.redirected(port=25)
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertTrue(client.aborted)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])

    def test_a_request_that_stops(self) -> None:
        client = self.redirected(port=80)
        client.feed(b"GET /a HT")
        self.clock.advance(self.proxy.limits.head_timeout)
        self.assertEqual(status_of(client.take()), 408)

    def test_a_client_that_leaves(self) -> None:
        for data in (b"", b"\x16\x03\x01"):
            client = self.redirected()
            client.feed(data)
            client.end()
        self.assertEqual(self.records, [])

    def test_shutdown(self) -> None:
        client = self.redirected()
        self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.clock.advance(0)
        self.assertTrue(client.disconnected)

    def test_a_direct_connection(self) -> None:
        client = self.redirected(direct=True)
        client.feed(request(url="/a"))
        status, reason = self.refused(client.take())
        self.assertEqual(status, 400)
        self.assertIn("transparent=yes", reason)
        self.assertEqual(self.outcomes(), ["bad-request"], "once")
        self.assertEqual(self.authorizer.asked, [])

    def test_limits(self) -> None:
        self.proxy.parts.limits = self.proxy.limits.__class__(connections=1)
        client: Any = self.redirected(port=80)
        self.assertEqual(status_of(client.take()), 503)
