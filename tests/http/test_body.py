"""Tests for L{egress.http.body}."""

from __future__ import annotations

import re
from collections.abc import Callable

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.body import MAX_CHUNKS, Body, ChunkedBody, LengthBody, MalformedBody, UntilCloseBody, encode_chunk
from egress.http.events import END, End
from egress.model.decision import Headers
from tests.http.streams import byte_by_byte, mutations, splits

MALFORMED = {
    "no number": b"x\r\n",
    "empty size": b"\r\n",
    "sign": b"+3\r\nabc\r\n",
    "prefix": b"0x3\r\nabc\r\n",
    "space before the size": b" 3\r\nabc\r\n",
    "space behind the size": b"3 \r\nabc\r\n",
    "bare line feed": b"3\nabc\r\n",
    "line feed in an extension": b"3;a\nb\r\nabc\r\n",
    "null in an extension": b"3;\x00\r\nabc\r\n",
    "size too long": b"1" * 16 + b"\r\n",
    "extension too long": b"3;" + b"a" * 300,
    "extension too long, complete": b"3;" + b"a" * 300 + b"\r\nabc\r\n",
    "carriage return in an extension": b"3;a\rb\r\nabc\r\n",
    "carriage return alone behind the size": b"3\rabc\r\n",
    "extension without a semicolon": b"3 a\r\nabc\r\n",
    "extension without a name": b"3;\r\nabc\r\n",
    "extension without a value": b"3;a=\r\nabc\r\n",
    "space in the name of an extension": b"3;a b\r\nabc\r\n",
    "space behind an extension": b"3;a \r\nabc\r\n",
    "space and nothing behind the semicolon": b"3; \r\nabc\r\n",
    "digits behind a space": b"3 0\r\nabc\r\n",
    "quote that is not closed": b'3;a="b\r\nabc\r\n',
    "control character in a quote": b'3;a="\x01"\r\nabc\r\n',
    "underscore": b"1_0\r\n0123456789abcdef\r\n",
    "minus": b"-3\r\n",
    "size over 64 bits": b"10000000000000003\r\nabc\r\n",
    "no line feed behind the data": b"3\r\nabc\r\r",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer with a bare line feed": b"0\r\nA: b\nC: d\r\n\r\n",
    "chunk longer than its size": b"3\r\nabcd\r\n",
    "chunk longer by one": b"3\r\nabc\nx",
    "chunk without an end": b"3\r\nabc0\r\n\r\n",
    "a byte too many": b"3\r\nabcx",
    "malformed trailer": b"0\r\nA : b\r\n\r\n",
    "trailers over the limit": b"0\r\nA: " + b"a" * 200,
    "too many trailers": b"0\r\n" + b"A: b\r\n" * 5 + b"\r\n",
}


def chunked() -> ChunkedBody:
    return ChunkedBody(trailer_limit=100, field_limit=4)


def read(body: Body, pieces: list[bytes]) -> tuple[bytes, Headers | None, bytes]:
    """Pass content in pieces.

    @return: the content, the trailers if the end was reached, and the rest.
    """
    content, buffer, trailers = b"", b"", None
    for piece in pieces:
        buffer += piece
        while trailers is None:
            event, buffer = body.take(buffer)
            if event is None:
                break
            if isinstance(event, End):
                trailers = event.trailers
            else:
                content += event
    return content, trailers, buffer


class LengthBodyTests(SynchronousTestCase):
    """Content of a known length."""

    def test_content(self) -> None:
        for pieces in ([b"abcdefg"], [b"a", b"bcdef", b"g"], [b"", b"abcde", b"fg"], [b"abcde", b"fg"]):
            with self.subTest(pieces=pieces):
                content, trailers, rest = read(LengthBody(5), pieces)
                self.assertEqual((content, trailers), (b"abcde", ()))
                self.assertEqual(rest, b"fg")

    def test_unfinished(self) -> None:
        self.assertEqual(read(LengthBody(5), [b"abc"]), (b"abc", None, b""))


class UntilCloseBodyTests(SynchronousTestCase):
    """Content that only the end of the connection ends."""

    def test_content(self) -> None:
        self.assertEqual(read(UntilCloseBody(), [b"abc", b"", b"def"]), (b"abcdef", None, b""))


class ChunkedBodyTests(SynchronousTestCase):
    """The chunked coding, parsed strictly."""

    def test_content(self) -> None:
        data = b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\n\r\nnext"
        self.assertEqual(read(chunked(), [data]), (b"abc0123456789", (), b"next"))

    def test_extensions_are_ignored(self) -> None:
        for line in (b"3;a", b"3;a=b;c", b"003;a;b=c", b'3;a="b; \\"c\\" \xe4\t";d'):
            with self.subTest(line=line):
                self.assertEqual(read(chunked(), [line + b"\r\nabc\r\n0;e\r\n\r\n"]), (b"abc", (), b""))

    def test_white_space_around_extensions_is_ignored(self) -> None:
        for line in (b"3 ;a=b", b"3; a=b", b"3\t;\ta", b"3;a =b", b"3;a= b", b'3 ; a = "b c" ; d'):
            for response in (False, True):
                with self.subTest(line=line, response=response):
                    body = ChunkedBody(100, 4, response=response)
                    self.assertEqual(read(body, byte_by_byte(line + b"\r\nabc\r\n0 ;e\r\n\r\n")), (b"abc", (), b""))

    def test_padded_sizes_are_accepted_only_in_responses(self) -> None:
        for line in (b"3 ", b"3\t ", b"0" * 16 + b"3", b"0" * 200 + b"3;a", b"0003;a "):
            data = line + b"\r\nabc\r\n" + b"0" * 20 + b" \r\n\r\n"
            with self.subTest(line=line):
                self.assertEqual(read(ChunkedBody(100, 4, response=True), [data]), (b"abc", (), b""))
                self.assertRaises(MalformedBody, read, chunked(), [data])

    def test_malformed_also_in_a_response(self) -> None:
        padded = ("space behind the size", "size too long", "space behind an extension", "malformed trailer")
        for name, data in MALFORMED.items():
            if name not in padded:
                with self.subTest(name):
                    self.assertRaises(MalformedBody, read, ChunkedBody(100, 4, response=True), [data])
        for size in (b"1" * 16, b"0" * 9 + b"1" * 16, b"0" * 256, b" 3", b"3 0", b"3 a"):
            with self.subTest(size=size):
                self.assertRaises(MalformedBody, read, ChunkedBody(100, 4, response=True), [size + b"\r\nabc\r\n"])

    def test_white_space_before_the_colon_of_a_trailer_is_removed_from_a_response(self) -> None:
        data = b"0\r\nX-Sum : 42\r\n\r\n"
        self.assertEqual(read(ChunkedBody(100, 4, response=True), [data]), (b"", ((b"X-Sum", b"42"),), b""))

    def test_limit_of_extensions(self) -> None:
        chunk = b"1;" + b"a" * 200 + b"\r\nx\r\n"
        self.assertEqual(len(read(chunked(), [chunk * 81])[0]), 81)
        self.assertRaises(MalformedBody, read, chunked(), [chunk * 83])
        large = b"100;" + b"a" * 200 + b"\r\n" + b"x" * 256 + b"\r\n"
        self.assertEqual(len(read(chunked(), [large * 1000])[0]), 256_000)

    def test_trailers(self) -> None:
        data = b"0\r\nX-Sum: 42\r\nX-B: c\r\n\r\nnext"
        self.assertEqual(read(chunked(), [data]), (b"", ((b"X-Sum", b"42"), (b"X-B", b"c")), b"next"))

    def test_chunks_of_one_read_are_joined(self) -> None:
        body = chunked()
        self.assertEqual(body.take(encode_chunk(b"a") * 100 + b"0\r\n\r\nnext"), (b"a" * 100, b"\r\nnext"))
        self.assertEqual(body.take(b"\r\nnext"), (END, b"next"))

    def test_joined_chunks_are_limited(self) -> None:
        body = chunked()
        piece, rest = body.take(encode_chunk(b"a") * 1000 + b"0\r\n\r\nnext")
        self.assertEqual(piece, b"a" * MAX_CHUNKS)
        self.assertEqual(read(body, [rest]), (b"a" * (1000 - MAX_CHUNKS), (), b"next"))

    def test_an_invalid_size_is_rejected_immediately(self) -> None:
        for data in (b"3\n", b"3;a\n", b"\n", b"1" * 256):
            with self.subTest(data=data):
                self.assertRaises(MalformedBody, chunked().take, data)

    def test_content_before_an_error_is_returned_first(self) -> None:
        body = chunked()
        content, rest = body.take(b"3\r\nabc\r\n2\r\nde\r\nx\r\n")
        self.assertEqual((content, rest), (b"abcde", b"x\r\n"))
        self.assertRaises(MalformedBody, body.take, rest)

    def test_forbidden_trailers_are_dropped(self) -> None:
        data = b"0\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nX-Sum: 42\r\nCookie: a\r\n\r\n"
        self.assertEqual(read(chunked(), [data])[1], ((b"X-Sum", b"42"),))

    def test_malformed(self) -> None:
        for name, data in MALFORMED.items():
            with self.subTest(name):
                self.assertRaises(MalformedBody, read, chunked(), [data])
                self.assertRaises(MalformedBody, read, chunked(), byte_by_byte(data))

    def test_unfinished(self) -> None:
        whole = b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
        for end in range(len(whole)):
            with self.subTest(end=end):
                self.assertIsNone(read(chunked(), [whole[:end]])[1])

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), splits())
    def test_encoded_content_is_decoded_for_any_split(
        self, chunks: list[bytes], split: Callable[[bytes], list[bytes]]
    ) -> None:
        wire = b"".join(map(encode_chunk, chunks)) + b"0\r\nA: b\r\n\r\n"
        self.assertEqual(read(chunked(), split(wire)), (b"".join(chunks), ((b"A", b"b"),), b""))

    @given(st.lists(st.binary(min_size=1, max_size=20), max_size=4), mutations())
    def test_mutated_bodies_that_llhttp_rejects_are_rejected(
        self, chunks: list[bytes], mutate: Callable[[bytes], bytes]
    ) -> None:
        self.check_against_llhttp(mutate(b"".join(map(encode_chunk, chunks)) + b"0\r\nA: b\r\n\r\n"))

    @given(
        st.lists(
            st.sampled_from(
                [b"0", b"3", b"a", b"\r\n", b"\n", b"abc", b";x", b" ", b"-", b"0\r\n\r\n", b"3\r\nabc\r\n"]
            ),
            max_size=14,
        )
    )
    def test_bodies_that_llhttp_rejects_are_rejected(self, tokens: list[bytes]) -> None:
        self.check_against_llhttp(b"".join(tokens))

    def check_against_llhttp(self, wire: bytes) -> None:
        """Check that llhttp accepts accepted content too, with the same content and end.

        llhttp rejects white space around the ";" and "=" of chunk extensions, which RFC 9112 section 7.1.1 requires a
        recipient to accept, so it gets the chunks without it.
        """
        try:
            content, trailers, rest = read(chunked(), [wire])
        except MalformedBody:
            return
        if trailers is None:
            return
        accepted = without_bad_white_space(wire[: len(wire) - len(rest)])

        class Collector:
            content = b""
            complete = False

            def on_body(self, data: bytes) -> None:
                self.content += data

            def on_message_complete(self) -> None:
                self.complete = True

        collector = Collector()
        parser = httptools.HttpRequestParser(collector)
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        parser.feed_data(accepted[:-1])
        self.assertFalse(collector.complete)
        parser.feed_data(accepted[-1:])
        self.assertTrue(collector.complete)
        self.assertEqual(collector.content, content)


def without_bad_white_space(wire: bytes) -> bytes:
    """Remove the white space around the ";" and "=" of chunk extensions from a complete chunked body."""
    lines = []
    while True:
        line, _, wire = wire.partition(b"\r\n")
        lines.append(re.sub(rb"[ \t]*([;=])[ \t]*", rb"\1", line))
        size = int(line.partition(b";")[0].strip(), 16)
        if not size:
            return b"\r\n".join([*lines, wire])
        lines.append(wire[:size])
        wire = wire[size + 2 :]
