"""Tests for L{egress.proxy.http2_requests}."""

from __future__ import annotations

from h2.errors import ErrorCodes

from tests.proxy.fakes import content_of
from tests.proxy.http2_client import Http2TestCase


class AuthorityTests(Http2TestCase):
    """All names of the destination must agree."""

    def test_another_authority(self) -> None:
        stream = self.http2.request(authority="other.test")
        self.assertEqual(self.http2.status(stream), 421)
        self.assertEqual((self.outcomes(), self.dialer.origins), (["misdirected-request"], []))

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
        ):
            with self.subTest(field):
                stream = self.http2.request("/", field)
                self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(self.dialer.origins, [])
        self.assertEqual(self.outcomes(), ["bad-request"] * 4)

    def test_a_contradicting_length(self) -> None:
        stream = self.http2.request("/", (b"content-length", b"2"), method="POST", end=False)
        self.http2.data(stream, b"abc")
        self.assertEqual(self.http2.reset(stream), ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual(content_of(self.origin.take()), b"")
