"""Tests for L{egress.http.sniff}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.sniff import PREFACE, TunnelProtocol, detect_protocol, starts_http2


class DetectProtocolTests(SynchronousTestCase):
    """Detection from the first bytes, as soon as it is unambiguous."""

    def test_detect_protocol(self) -> None:
        for first, expected in (
            (b"", None),
            (b"\x16", None),
            (b"\x16\x03", TunnelProtocol.TLS),
            (b"\x16\x03\x01\x02\x00", TunnelProtocol.TLS),
            (b"\x16\x02", TunnelProtocol.UNKNOWN),
            (b"G", None),
            (b"GET", None),
            (b"GET ", TunnelProtocol.HTTP),
            (b"M-SEARCH * HTTP/1.1", TunnelProtocol.HTTP),
            (b"get /", TunnelProtocol.HTTP),
            (b"patch /x HTTP/1.1\r\n", TunnelProtocol.HTTP),
            (b"!#$%&'*+-.^_`|~09azAZ /", TunnelProtocol.HTTP),
            (b"A" * 64 + b" /", TunnelProtocol.HTTP),
            (b"GET(/", TunnelProtocol.UNKNOWN),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", TunnelProtocol.UNKNOWN),
            (b"SSH-2.0-OpenSSH_9.0\r\n", TunnelProtocol.UNKNOWN),
            (b"\x00\x01", TunnelProtocol.UNKNOWN),
            (b"\r\n", TunnelProtocol.UNKNOWN),
            (b"A" * 65, TunnelProtocol.UNKNOWN),
        ):
            with self.subTest(first=first):
                self.assertEqual(detect_protocol(first), expected)

    def test_http2(self) -> None:
        """The whole preface decides, and it is a request of HTTP/1 where HTTP/2 is turned off."""
        for size in range(1, len(PREFACE)):
            self.assertIsNone(detect_protocol(PREFACE[:size], http2=True))
        for first, expected in (
            (PREFACE, TunnelProtocol.HTTP2),
            (PREFACE + b"frames", TunnelProtocol.HTTP2),
            (PREFACE[:-1] + b"x", TunnelProtocol.HTTP),
            (b"PRI * HTTP/1.1", TunnelProtocol.HTTP),
            (b"\x16\x03", TunnelProtocol.TLS),
            (b"", None),
        ):
            with self.subTest(first=first):
                self.assertEqual(detect_protocol(first, http2=True), expected)
        self.assertEqual(detect_protocol(PREFACE), TunnelProtocol.HTTP)

    def test_starts_http2(self) -> None:
        for first, expected in ((b"", None), (b"PRI", None), (b"PUT", False), (PREFACE, True), (PREFACE + b"x", True)):
            with self.subTest(first=first):
                self.assertIs(starts_http2(first), expected)
