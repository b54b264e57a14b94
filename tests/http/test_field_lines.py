"""Tests for L{egress.http.field_lines}."""

from __future__ import annotations

import re
from typing import Any

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.field_lines import MAX_REMEMBERED, LastFields, MalformedFields, TooManyFields, parse_fields

REFUSED = {
    "length and chunked": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "length list": b"Content-Length: 3, 3\r\n",
    "length with a sign": b"Content-Length: +3\r\n",
    "length in hexadecimal": b"Content-Length: 0x3\r\n",
    "length with an underscore": b"Content-Length: 1_0\r\n",
    "length with a space in it": b"Content-Length: 1 0\r\n",
    "empty length": b"Content-Length:\r\n",
    "folded line": b"A: b\r\n c\r\n",
    "folded by a tab": b"A: b\r\n\tc\r\n",
    "folded before the value": b"Transfer-Encoding:\r\n chunked\r\n",
    "folded before the colon": b"Transfer-Encoding\r\n : chunked\r\n",
    "folded first line": b" A: b\r\n",
    "bare line feed": b"A: b\nC: d\r\n",
    "bare carriage return": b"A: b\rC: d\r\n",
    "carriage return at the end": b"A: b\r\r\n",
    "carriage return in the name": b"A\rB: c\r\n",
    "null": b"A: b\x00\r\n",
    "null in the name": b"A\x00: b\r\n",
    "control character": b"A: b\x01\r\n",
    "delete": b"A: b\x7f\r\n",
    "vertical tab before chunked": b"Transfer-Encoding: \x0bchunked\r\n",
    "space in the name": b"A b: c\r\n",
    "quote in the name": b'A": b\r\n',
    "letter beyond ASCII in the name": b"\xc4: b\r\n",
    "no name": b": b\r\n",
    "no colon": b"Abc\r\n",
}

REFUSED_IN_REQUESTS = {
    "space before the colon": b"A : b\r\n",
    "tab before the colon": b"Transfer-Encoding\t: chunked\r\n",
    "chunked is not last": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked with a parameter": b"Transfer-Encoding: chunked;a=b\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n",
}

TOKENS = [b"A", b"3", b"chunked", b":", b";", b" ", b"\t", b"\r", b"\n", b"\x00", b"\x80"]
SPACED = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]+:")
LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*", re.DOTALL)


def parse_by_rfc(block: bytes, *, response: bool = False) -> tuple[tuple[bytes, bytes], ...] | None:
    """Parse field lines exactly as RFC 9112 section 5 defines them, without regard for speed; C{None} if they are
    invalid.
    """
    *lines, empty, rest = block.split(b"\r\n")
    if response:
        lines = [SPACED.sub(rb"\1:", line) for line in lines]
    matches = [LINE.fullmatch(line) for line in lines]
    if empty or rest or None in matches:
        return None
    return tuple((match[1], match[2]) for match in matches if match is not None)


class ParseFieldsTests(SynchronousTestCase):
    """The checks of llhttp, and the additional limits."""

    def test_fields(self) -> None:
        block = b"Host: a\r\nX-Empty:\r\nX-Text:  b c \t\r\nX-Bytes: \x80\xff\r\n\r\n"
        expected = ((b"Host", b"a"), (b"X-Empty", b""), (b"X-Text", b"b c"), (b"X-Bytes", b"\x80\xff"))
        self.assertEqual(parse_fields(block, 10), expected)
        self.assertEqual(parse_fields(block, 10, response=True), expected)

    def test_no_fields(self) -> None:
        self.assertEqual(parse_fields(b"\r\n", 10), ())

    def test_rejected(self) -> None:
        for name, block in (REFUSED | REFUSED_IN_REQUESTS).items():
            with self.subTest(name):
                self.assertRaises(MalformedFields, parse_fields, block + b"\r\n", 10)

    def test_rejected_in_a_response(self) -> None:
        for name, block in REFUSED.items():
            with self.subTest(name):
                self.assertRaises(MalformedFields, parse_fields, block + b"\r\n", 10, response=True)

    def test_white_space_before_a_colon_is_removed_from_a_response(self) -> None:
        block = b"A : b\r\nB \t : c :d\r\nC: e : f\r\nTransfer-Encoding\t: chunked\r\n\r\n"
        expected = ((b"A", b"b"), (b"B", b"c :d"), (b"C", b"e : f"), (b"Transfer-Encoding", b"chunked"))
        self.assertEqual(parse_fields(block, 10, response=True), expected)
        for refused in (b" A : b\r\n", b"A b : c\r\n", b" : c\r\n", b"A\x0b: c\r\n", b"A : b\r\n : c\r\n"):
            with self.subTest(refused):
                self.assertRaises(MalformedFields, parse_fields, refused + b"\r\n", 10, response=True)

    def test_length_and_coding_are_exclusive_with_any_spacing(self) -> None:
        block = b"Content-Length : 3\r\nTransfer-Encoding : chunked\r\n\r\n"
        self.assertRaises(MalformedFields, parse_fields, block, 10, response=True)

    def test_line_syntax_does_not_depend_on_the_llhttp_release(self) -> None:
        class LaxParser:
            """Accepts anything as one field."""

            def __init__(self, collector: Any) -> None:
                self.collector = collector

            def feed_data(self, data: bytes) -> None:
                self.collector.on_header(b"Transfer-Encoding ", b"chunked")
                self.collector.on_headers_complete()

        self.patch(httptools, "HttpRequestParser", LaxParser)
        for name, block in (
            ("space before the colon", b"Transfer-Encoding : chunked\r\n\r\n"),
            ("folded line", b"A: b\r\n c\r\n\r\n"),
            ("bare line feed", b"A: b\nC: d\r\n\r\n"),
            ("bare carriage return", b"A: b\rC: d\r\n\r\n"),
            ("null", b"A: b\x00\r\n\r\n"),
            ("more than one head", b"A: b\r\n\r\nA: b\r\n\r\n"),
        ):
            with self.subTest(name):
                self.assertRaises(MalformedFields, parse_fields, block, 10)
        self.assertEqual(len(parse_fields(b"A: b\r\n\r\n", 10)), 1)

    @given(
        st.lists(
            st.sampled_from(
                [*TOKENS, b"A: b\r\n", b"Content-Length", b"Transfer-Encoding", b": ", b"\r\n", b"\r\n", b"\r\n"]
            ),
            max_size=16,
        ).map(b"".join),
        st.booleans(),
    )
    def test_accepted_fields_match_the_rfc(self, text: bytes, response: bool) -> None:
        block = text + b"\r\n\r\n"
        try:
            parsed = parse_fields(block, 100, response=response)
        except MalformedFields:
            return
        self.assertEqual(parsed, parse_by_rfc(block, response=response))

    def test_an_upgrade_is_accepted(self) -> None:
        block = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        self.assertEqual(len(parse_fields(block, 10)), 2)

    def test_unfinished(self) -> None:
        self.assertRaises(MalformedFields, parse_fields, b"A: b\r\n", 10)

    def test_too_many(self) -> None:
        self.assertEqual(len(parse_fields(b"A: b\r\n" * 3 + b"\r\n", 3)), 3)
        self.assertRaises(TooManyFields, parse_fields, b"A: b\r\n" * 4 + b"\r\n", 3)


class LastFieldsTests(SynchronousTestCase):
    """The fields of the last message."""

    def test_equal_bytes_are_parsed_once(self) -> None:
        last = LastFields(3)
        first, other = b"A: b\r\nC: d\r\n\r\n", b"A: b\r\nC: e\r\n\r\n"
        fields = last.parse(first)
        self.assertEqual(fields, ((b"A", b"b"), (b"C", b"d")))
        self.assertIs(last.parse(bytes(bytearray(first))), fields)
        self.assertEqual(last.parse(other), ((b"A", b"b"), (b"C", b"e")))
        self.assertEqual(last.parse(first), fields)

    def test_invalid_fields_stay_invalid(self) -> None:
        last = LastFields(1)
        for _ in range(2):
            self.assertRaises(TooManyFields, last.parse, b"A: b\r\n" * 2 + b"\r\n")
            self.assertRaises(MalformedFields, last.parse, b"A : b\r\n\r\n")
        self.assertRaises(MalformedFields, last.parse, b"")
        self.assertEqual(last.parse(b"\r\n"), ())
        self.assertEqual(LastFields(1, response=True).parse(b"A : b\r\n\r\n"), ((b"A", b"b"),))

    def test_long_fields_are_not_kept(self) -> None:
        last = LastFields(1)
        for size in (MAX_REMEMBERED - 7, MAX_REMEMBERED - 6):
            block = b"A: %b\r\n\r\n" % (b"x" * size)
            again = bytes(bytearray(block))
            self.assertEqual(last.parse(block) is last.parse(again), len(block) <= MAX_REMEMBERED)
            self.assertEqual(last.parse(again), ((b"A", b"x" * size),))
