"""Tests for L{egress.model.protocol}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.protocol import is_http_or_tls, protocol_name


class NameTests(SynchronousTestCase):
    """The names that operators may permit."""

    def test_valid(self) -> None:
        self.assertEqual([protocol_name(text) for text in ("tcp", "SPDY/3.1", "x")], ["tcp", "spdy/3.1", "x"])

    def test_invalid(self) -> None:
        for text in (
            "",
            "a b",
            "a/b/c",
            "/",
            "tcp/",
            "t\u00e4",
            "websocket",
            "WebSocket",
            "h2c",
            "h2",
            "HTTP/2.0",
            "tls/1.2",
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, protocol_name, text)

    def test_http_and_tls(self) -> None:
        for name in (b"h2c", b"H2", b"h3", b"HTTP/2.0", b"http", b"TLS/1.2", b"tls", b"h2c-14", b"h2c/\n"):
            with self.subTest(name):
                self.assertTrue(is_http_or_tls(name))
        for name in (b"", b"tcp", b"h2x", b"websocket", b"spdy/3.1", b"xhttp"):
            with self.subTest(name):
                self.assertFalse(is_http_or_tls(name))
