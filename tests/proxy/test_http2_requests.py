"""Tests for L{egress.proxy.http2_requests}."""

from __future__ import annotations

from h2.errors import ErrorCodes

from tests.proxy.fakes import content_of, deny
from tests.proxy.http2_client import Http2Client, Http2TestCase
from tests.transport.tls import TlsClient, leaves


class AuthorityTests(Http2TestCase):
    """All names of the destination must agree."""

    def test_another_authority(self) -> None:
        stream = self.http2.request(authority="other.test")
        self.assertEqual(self.http2.status(stream), 421)
        self.assertEqual((self.outcomes(), self.dialer.origins), (["misdirected-request"], []))
        self.assertEqual((self.records[0].client_http, self.records[0].origin_http), ("2", None))

    def test_another_scheme(self) -> None:
        self.assertEqual(self.http2.status(self.http2.request(scheme="http")), 421)

    def test_another_host(self) -> None:
        self.assertEqual(self.http2.status(self.http2.request("/", (b"host", b"other.test"))), 400)

    def test_another_server_name(self) -> None:
        self.client = self.connect()
        self.start(server_name="other.test")
        self.assertEqual(self.http2.status(self.http2.request()), 421)

    def test_no_malformed_request_is_forwarded(self) -> None:
        for field in (
            (b"x", b"a\r\nb: c"),
            (b"connection", b"close"),
            (b"X", b"y"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"+0"),
        ):
            with self.subTest(field):
                stream = self.http2.request("/", field)
                self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.dialer.origins, [])
        self.assertEqual(self.outcomes(), ["bad-request"] * 5)
        self.assertEqual({record.client_http for record in self.records}, {"2"})
        stream = self.http2.request("/")
        self.assertIsNone(self.http2.reset(stream), "the connection continues")

    def test_a_contradicting_length(self) -> None:
        stream = self.http2.request("/", (b"content-length", b"2"), method="POST", end=False)
        self.http2.data(stream, b"abc")
        self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(content_of(self.origin.take()), b"")

    def test_a_length_that_trailers_contradict(self) -> None:
        """The origin would take the next request on its connection for content."""
        stream = self.http2.request("/", (b"content-length", b"5"), method="POST", end=False)
        self.assertTrue(self.origin.take().startswith(b"POST / HTTP/1.1\r\n"))
        self.http2.h2.send_headers(stream, [(b"x", b"y")], end_stream=True)
        self.http2.flush()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertTrue(self.origin.aborted)
        self.assertEqual(self.outcomes(), ["bad-request"])
        self.http2.request("/next")
        self.assertEqual(len(self.dialer.origins), 2)

    def test_credentials_for_a_connection(self) -> None:
        """The client uses HTTP/1.1 for them."""
        stream = self.http2.request("/", (b"authorization", b"NTLM TlRMTVNTUAAB"))
        self.assertEqual(self.http2.reset(stream), ErrorCodes.HTTP_1_1_REQUIRED)
        self.assertEqual((self.outcomes(), self.dialer.origins), (["unsupported-request"], []))

    def test_the_proxy_itself(self) -> None:
        self.client = self.connect()
        self.tunnel("egressproxy.invalid:443")
        tls = TlsClient(self.client, "egressproxy.invalid", protocols=[b"h2"]).shake()
        self.http2 = Http2Client(tls)
        stream = self.http2.request(authority="egressproxy.invalid")
        self.assertEqual((self.http2.status(stream), self.outcomes()), (200, ["proxy-addressed"]))

    def test_a_large_head(self) -> None:
        """It gets a response, as in HTTP/1."""
        fields = [(b"x-%d" % number, b"y" * 8000) for number in range(9)]
        stream = self.http2.request("/", *fields)
        self.assertEqual(self.http2.status(stream), 431)
        self.http2.request()
        self.assertEqual((self.outcomes(), len(self.dialer.origins)), (["head-too-large"], 1))
        self.assertEqual(self.records[0].client_http, "2")

    def test_a_refused_tunnel(self) -> None:
        """Each request gets the error of the tunnel."""
        self.build(leaves=leaves(), passthrough=("origin.test",))
        self.authorizer.answers = [deny("no tunnel")]
        self.start()
        stream = self.http2.request()
        self.assertEqual(self.http2.status(stream), 403)
        self.assertIn(b"no tunnel", self.http2.content(stream))
        self.assertEqual(self.outcomes(), ["denied"])
