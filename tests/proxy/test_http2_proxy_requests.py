"""Tests for L{egress.proxy.http2_proxy_requests}."""

from __future__ import annotations

import json

from h2.errors import ErrorCodes

from egress.http.request_target import CLEAR_TEXT
from egress.http.upgrade import accept_of
from egress.model.authority import DEFAULT_PORTS
from egress.model.errors import ClientCredentialsRejected
from egress.proxy import http2_proxy_requests
from egress.proxy.client_auth import ClientAuthPolicy
from tests.proxy.fakes import allow, broken, content_of, deny, response
from tests.proxy.http2_listener import Http2ListenerTestCase, StreamWire
from tests.proxy.test_client_auth import GOOD, FakeAuthenticator
from tests.proxy.test_tunnel_binding import basic
from tests.proxy.tunnels import inner
from tests.transport.tls import TlsClient


class ForwardTests(Http2ListenerTestCase):
    """Requests that name their destination."""

    def test_a_request(self) -> None:
        stream = self.http2.request("/a?b=c", scheme="http", authority="origin.test:8080")
        self.origin_gets(b"GET /a?b=c HTTP/1.1\r\nHost: origin.test:8080\r\n")
        self.origin.feed(response())
        self.http2.read()
        self.assertEqual((self.http2.status(stream), self.http2.content(stream)), (200, b"hello"))
        (record,) = self.records
        self.assertEqual((record.outcome, record.url), ("forwarded", "http://origin.test:8080/a?b=c"))

    def origin_gets(self, start: bytes) -> None:
        """Check the start of the data that the origin received."""
        data = self.origin.take()
        self.assertTrue(data.startswith(start), data)

    def test_several_destinations(self) -> None:
        for host in ("one.test", "two.test"):
            self.http2.request(scheme="http", authority=host)
            self.origin_gets(b"GET /a HTTP/1.1\r\nHost: %b\r\n" % host.encode())

    def test_content(self) -> None:
        stream = self.http2.request(method="POST", scheme="http", end=False)
        self.http2.data(stream, b"content", end=True)
        self.assertIn(b"content", content_of(self.origin.take()))

    def test_https(self) -> None:
        """As in HTTP/1.1, the listener decides whether it accepts such URLs."""
        self.start(ClientAuthPolicy(schemes=CLEAR_TEXT))
        self.assertEqual(self.http2.status(self.http2.request()), 400)
        self.assertEqual((self.authorizer.asked, len(self.records)), ([], 1))
        self.start(ClientAuthPolicy(schemes=DEFAULT_PORTS))
        self.http2.request()
        self.assertEqual(self.authorizer.asked[0].url, "https://origin.test/a")

    def test_the_whole_server(self) -> None:
        self.http2.request("*", method="OPTIONS", scheme="http")
        self.origin_gets(b"OPTIONS * HTTP/1.1\r\nHost: origin.test\r\n")

    def test_a_host_without_an_authority(self) -> None:
        stream = self.http2.h2.get_next_available_stream_id()
        pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a")]
        self.http2.send([*pseudo, (b"host", b"origin.test")], stream)
        self.origin_gets(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n")
        self.http2.send(pseudo, stream + 2)
        self.assertEqual(self.http2.status(stream + 2), 400)

    def test_invalid_destinations(self) -> None:
        for authority, scheme in (("origin.test:x", "http"), ("", "http"), ("a b", "http"), ("origin.test", "ftp")):
            with self.subTest(authority, scheme=scheme):
                stream = self.http2.request(authority=authority, scheme=scheme)
                self.assertEqual(self.http2.status(stream), 400)
        self.assertEqual(self.dialer.origins, [])
        self.assertEqual(len(self.records), 4)

    def test_a_denial(self) -> None:
        self.authorizer.answers = [deny(), allow()]
        stream = self.http2.request(scheme="http")
        self.assertEqual(self.http2.status(stream), 403)
        self.assertEqual(json.loads(self.http2.content(stream))["reason"], "not today")
        self.http2.request(scheme="http")
        self.assertEqual(len(self.dialer.origins), 1)

    def test_the_proxy_itself(self) -> None:
        stream = self.http2.request(scheme="http", authority="egressproxy.invalid")
        self.assertEqual((self.http2.status(stream), self.outcomes()), (200, ["proxy-addressed"]))

    def test_credentials_for_a_connection(self) -> None:
        """The client repeats the request with HTTP/1.1, and the connection continues."""
        stream = self.http2.request("/", (b"authorization", b"NTLM TlRMTVNTUAAB"), scheme="http")
        self.assertEqual(self.http2.reset(stream), ErrorCodes.HTTP_1_1_REQUIRED)
        self.assertEqual(self.proxy.parts.sessions.count_for("198.51.100.7"), 1)
        self.http2.request(scheme="http")
        self.assertEqual(len(self.dialer.origins), 1)

    def test_a_websocket(self) -> None:
        """RFC 8441."""
        stream = self.http2.h2.get_next_available_stream_id()
        pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat")]
        fields = [*pseudo, (b":authority", b"origin.test"), (b"sec-websocket-version", b"13")]
        self.http2.send(fields, stream, end=False)
        sent = self.origin.take()
        self.assertTrue(sent.startswith(b"GET /chat HTTP/1.1\r\nHost: origin.test\r\n"), sent)
        key = sent.partition(b"sec-websocket-key: ")[2].partition(b"\r\n")[0]
        accept = accept_of(key).decode()
        self.origin.feed(
            response(
                b"",
                "Connection: Upgrade",
                "Upgrade: websocket",
                f"Sec-WebSocket-Accept: {accept}",
                status="101 Switching Protocols",
                length=False,
            )
        )
        self.http2.read()
        self.assertEqual(self.http2.status(stream), 200)
        self.origin.feed(b"frames")
        self.assertEqual(StreamWire(self.http2, stream).take(), b"frames")
        self.assertEqual(self.records, [])

    def test_another_protocol(self) -> None:
        stream = self.http2.h2.get_next_available_stream_id()
        pseudo = [(b":method", b"CONNECT"), (b":protocol", b"connect-udp"), (b":scheme", b"http"), (b":path", b"/")]
        self.http2.send([*pseudo, (b":authority", b"origin.test")], stream, end=False)
        self.assertEqual(self.http2.status(stream), 501)


class ConnectTests(Http2ListenerTestCase):
    """Requests for tunnels."""

    def test_malformed(self) -> None:
        """RFC 9113 section 8.5."""
        method, authority = (b":method", b"CONNECT"), (b":authority", b"origin.test:443")
        for fields in (
            [method],
            [method, (b":authority", b"")],
            [method, authority, (b":scheme", b"https")],
            [method, authority, (b":path", b"/")],
        ):
            with self.subTest(len(fields)):
                stream = self.http2.h2.get_next_available_stream_id()
                self.http2.send(fields, stream, end=False)
                self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.outcomes(), ["bad-request"] * 4)

    def test_invalid(self) -> None:
        for authority in ("origin.test", "origin.test:0", "user@origin.test:443", "origin.test:99999"):
            with self.subTest(authority):
                self.assertEqual(self.http2.status(self.connect_stream(authority)), 400)

    def test_content(self) -> None:
        """RFC 9110 section 9.3.6."""
        stream = self.connect_stream("origin.test:443", (b"content-length", b"5"))
        self.assertEqual(self.http2.status(stream), 400)

    def test_no_certificate_possible(self) -> None:
        """The response to the CONNECT names the reason."""
        self.patch(type(self.proxy.parts.tunnels.interception), "refusal", lambda *_: "may not sign")
        stream = self.connect_stream()
        self.assertEqual(self.http2.status(stream), 403)
        self.assertIn(b"may not sign", self.http2.content(stream))
        self.assertEqual(self.outcomes(), ["certificate-not-permitted"])


class AuthenticationTests(Http2ListenerTestCase):
    """Each stream has the credentials of its own request."""

    def setUp(self) -> None:
        super().setUp()
        self.gate = FakeAuthenticator()
        self.client.lose()
        self.start(ClientAuthPolicy(self.gate))

    def identities(self) -> list[str | None]:
        """The names of the clients of all authorization requests."""
        return [asked.client.identity for asked in self.authorizer.asked]

    def test_no_credentials(self) -> None:
        forward, connect = self.http2.request(scheme="http"), self.connect_stream()
        for stream in (forward, connect):
            fields = self.http2.fields(stream)
            self.assertEqual(fields[b":status"], b"407")
            self.assertIn(b"realm=", fields[b"proxy-authenticate"])
        self.assertEqual(self.outcomes(), ["client-auth-required"] * 2)
        self.assertEqual(self.authorizer.asked, [])

    def test_two_identities(self) -> None:
        """They share one connection to the proxy, and no connection to an origin."""
        self.gate.good = {b"Bearer a": "alice", b"Bearer b": "bob"}
        tunnels = []
        for token in (b"Bearer a", b"Bearer b"):
            field = (b"proxy-authorization", token)
            self.http2.request("/", field, scheme="http")
            self.assertNotIn(b"uthorization", self.origin.take())
            self.origin.feed(response())
            self.http2.read()
            tunnels.append(TlsClient(self.tunnel("origin.test:443", field)).shake())
        for tunnel in reversed(tunnels):
            tunnel.send(inner())
            self.origin.feed(response())
            tunnel.take()
        self.http2.request("/", (b"proxy-authorization", b"Bearer a"), scheme="http")
        self.assertEqual(self.identities(), ["alice", "bob", "bob", "alice", "alice"])
        # The last request used the first connection of alice again.
        self.assertEqual(len(self.dialer.dialled), 4)

    def test_claimed_names(self) -> None:
        """Names that nothing verifies are different clients, too."""
        self.start()
        for name in (b"a:x", b"b:x"):
            self.http2.request("/", (b"proxy-authorization", basic(name)), scheme="http")
            self.origin.feed(response())
        self.assertEqual(self.identities(), ["a", "b"])
        self.assertEqual(len(self.dialer.dialled), 2)

    def test_a_check_that_takes_time(self) -> None:
        """Other streams do not wait for it, and content waits."""
        field = (b"proxy-authorization", b"Bearer slow")
        slow = self.http2.request("/slow", field, scheme="http", method="POST", end=False)
        self.http2.data(slow, b"one")
        self.http2.data(slow, b"two", end=True)
        self.http2.request("/quick", (b"proxy-authorization", GOOD), scheme="http")
        self.assertTrue(self.origin.take().startswith(b"GET /quick"))
        self.gate.pending.pop().callback("carol")
        data = self.origin.take()
        self.assertTrue(data.startswith(b"POST /slow"))
        self.assertIn(b"onetwo", data)
        self.assertEqual(self.identities(), ["ci", "carol"])

    def test_a_check_for_a_tunnel(self) -> None:
        stream = self.connect_stream("origin.test:80", (b"proxy-authorization", b"Bearer slow"))
        wire = StreamWire(self.http2, stream)
        wire.feed(inner())
        self.gate.pending.pop().callback("carol")
        self.origin.feed(response())
        self.assertIn(b"hello", wire.take())
        self.assertEqual(self.identities(), ["carol"])

    def test_a_failed_check(self) -> None:
        stream = self.connect_stream("origin.test:80", (b"proxy-authorization", b"Bearer slow"))
        self.gate.pending.pop().errback(ClientCredentialsRejected("wrong"))
        self.http2.read()
        self.assertEqual(self.http2.status(stream), 407)

    def test_a_reset_during_the_check(self) -> None:
        stream = self.connect_stream("origin.test:80", (b"proxy-authorization", b"Bearer slow"))
        self.http2.h2.reset_stream(stream)
        self.http2.flush()
        self.assertEqual((self.gate.cancelled, self.outcomes()), (1, ["client-disconnected"]))

    def test_trailers_during_the_check(self) -> None:
        stream = self.connect_stream("origin.test:80", (b"proxy-authorization", b"Bearer slow"))
        self.http2.send([(b"x-sum", b"1")], stream)
        self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.gate.cancelled, 1)

    def test_the_loss_of_the_connection_during_the_check(self) -> None:
        self.http2.request("/", (b"proxy-authorization", b"Bearer slow"), scheme="http")
        self.client.lose()
        self.assertEqual((self.gate.cancelled, self.outcomes()), (1, ["client-disconnected"]))

    def test_an_error_in_the_proxy(self) -> None:
        """Only its stream is reset."""
        self.patch(http2_proxy_requests, "parse_request_target", broken)
        stream = self.http2.request("/", (b"proxy-authorization", b"Bearer slow"), scheme="http")
        self.gate.pending.pop().callback("carol")
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.INTERNAL_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.proxy.parts.sessions.count_for("198.51.100.7"), 1)
