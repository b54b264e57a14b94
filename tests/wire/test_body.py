"""Tests for L{egress.wire.body}."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Headers
from egress.wire.body import (
    CHUNKED,
    END,
    NO_BODY,
    Body,
    ChunkedBody,
    End,
    LengthBody,
    MalformedBody,
    UntilCloseBody,
    encode_chunk,
)

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
    """Feed content in pieces.

    @return: the content, the trailers when the end was reached, and what was left over.
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
                self.assertTrue(b"fg".startswith(rest))

    def test_unfinished(self) -> None:
        self.assertEqual(read(LengthBody(5), [b"abc"]), (b"abc", None, b""))


class UntilCloseBodyTests(SynchronousTestCase):
    """Content that only the end of the connection ends."""

    def test_content(self) -> None:
        self.assertEqual(read(UntilCloseBody(), [b"abc", b"", b"def"]), (b"abcdef", None, b""))


class ChunkedBodyTests(SynchronousTestCase):
    """The chunked coding, strictly."""

    def test_content(self) -> None:
        data = b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\n\r\nnext"
        self.assertEqual(read(chunked(), [data]), (b"abc0123456789", (), b"next"))

    def test_trailers(self) -> None:
        data = b"0\r\nX-Sum: 42\r\nX-B: c\r\n\r\nnext"
        self.assertEqual(read(chunked(), [data]), (b"", ((b"X-Sum", b"42"), (b"X-B", b"c")), b"next"))

    def test_malformed(self) -> None:
        for name, data in MALFORMED.items():
            with self.subTest(name):
                self.assertRaises(MalformedBody, read, chunked(), [data])
                if name not in ("trailers over the limit", "extension too long"):
                    pieces = [data[index : index + 1] for index in range(len(data))]
                    self.assertRaises(MalformedBody, read, chunked(), pieces)

    def test_unfinished(self) -> None:
        whole = b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
        for end in range(len(whole)):
            with self.subTest(end=end):
                self.assertIsNone(read(chunked(), [whole[:end]])[1])

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.data())
    def test_any_split_gives_the_same(self, chunks: list[bytes], data: st.DataObject) -> None:
        wire = b"".join(map(encode_chunk, chunks)) + b"0\r\nA: b\r\n\r\n"
        cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
        pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
        self.assertEqual(read(chunked(), pieces), (b"".join(chunks), ((b"A", b"b"),), b""))

    @given(
        st.lists(
            st.sampled_from(
                [b"0", b"3", b"a", b"\r\n", b"\n", b"abc", b";x", b" ", b"-", b"0\r\n\r\n", b"3\r\nabc\r\n"]
            ),
            max_size=14,
        )
    )
    def test_what_llhttp_refuses_is_refused(self, tokens: list[bytes]) -> None:
        wire = b"".join(tokens)
        try:
            content, trailers, rest = read(chunked(), [wire])
        except MalformedBody:
            return
        if trailers is None:
            return
        accepted = wire[: len(wire) - len(rest)]

        class Collector:
            content = b""

            def on_body(self, data: bytes) -> None:
                self.content += data

        collector = Collector()
        parser = httptools.HttpRequestParser(collector)
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        parser.feed_data(accepted)
        self.assertEqual(collector.content, content)


class FramingTests(SynchronousTestCase):
    """Whether content follows."""

    def test_has_body(self) -> None:
        self.assertFalse(NO_BODY.has_body)
        self.assertTrue(CHUNKED.has_body)
        self.assertEqual(END.trailers, ())
