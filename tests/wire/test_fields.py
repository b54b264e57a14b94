"""Tests for L{egress.wire.fields}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.wire.fields import MalformedFields, TooManyFields, parse_fields

REFUSED = {
    "length and chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "length list": b"Content-Length: 3, 3\r\n",
    "length with a sign": b"Content-Length: +3\r\n",
    "folded line": b"A: b\r\n c\r\n",
    "bare line feed": b"A: b\nC: d\r\n",
    "bare carriage return": b"A: b\rC: d\r\n",
    "null": b"A: b\x00\r\n",
    "control character": b"A: b\x01\r\n",
    "space before the colon": b"A : b\r\n",
    "space in the name": b"A b: c\r\n",
    "no name": b": b\r\n",
    "no colon": b"Abc\r\n",
    "chunked is not last": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n",
}


class ParseFieldsTests(SynchronousTestCase):
    """llhttp's strictness, and our bounds."""

    def test_fields(self) -> None:
        block = b"Host: a\r\nX-Empty:\r\nX-Text:  b c \t\r\nX-Bytes: \x80\xff\r\n\r\n"
        expected = ((b"Host", b"a"), (b"X-Empty", b""), (b"X-Text", b"b c"), (b"X-Bytes", b"\x80\xff"))
        self.assertEqual(parse_fields(block, 10), expected)
        self.assertEqual(parse_fields(block, 10, response=True), expected)

    def test_no_fields(self) -> None:
        self.assertEqual(parse_fields(b"\r\n", 10), ())

    def test_refused(self) -> None:
        for name, block in REFUSED.items():
            with self.subTest(name):
                self.assertRaises(MalformedFields, parse_fields, block + b"\r\n", 10)

    def test_an_upgrade_is_no_fault(self) -> None:
        block = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        self.assertEqual(len(parse_fields(block, 10)), 2)

    def test_unfinished(self) -> None:
        self.assertRaises(MalformedFields, parse_fields, b"A: b\r\n", 10)

    def test_too_many(self) -> None:
        self.assertEqual(len(parse_fields(b"A: b\r\n" * 3 + b"\r\n", 3)), 3)
        self.assertRaises(TooManyFields, parse_fields, b"A: b\r\n" * 4 + b"\r\n", 3)
