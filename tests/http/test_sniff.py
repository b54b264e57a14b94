"""Tests for L{egress.http.sniff}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.sniff import Inner, recognize


class RecognizeTests(SynchronousTestCase):
    """Told from the first bytes, and not before."""

    def test_recognize(self) -> None:
        for first, expected in (
            (b"", None),
            (b"\x16", None),
            (b"\x16\x03", Inner.TLS),
            (b"\x16\x03\x01\x02\x00", Inner.TLS),
            (b"\x16\x02", Inner.UNKNOWN),
            (b"G", None),
            (b"GET", None),
            (b"GET ", Inner.HTTP),
            (b"M-SEARCH * HTTP/1.1", Inner.HTTP),
            (b"get /", Inner.HTTP),
            (b"patch /x HTTP/1.1\r\n", Inner.HTTP),
            (b"!#$%&'*+-.^_`|~09azAZ /", Inner.HTTP),
            (b"A" * 64 + b" /", Inner.HTTP),
            (b"GET(/", Inner.UNKNOWN),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Inner.UNKNOWN),
            (b"SSH-2.0-OpenSSH_9.0\r\n", Inner.UNKNOWN),
            (b"\x00\x01", Inner.UNKNOWN),
            (b"\r\n", Inner.UNKNOWN),
            (b"A" * 65, Inner.UNKNOWN),
        ):
            with self.subTest(first=first):
                self.assertEqual(recognize(first), expected)
