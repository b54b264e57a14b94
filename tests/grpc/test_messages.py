"""Tests for L{egress.grpc.messages}."""

from __future__ import annotations

import base64
import gzip
import zlib

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Kind
from egress.grpc.framing import Frame, MalformedFrame, MessageTooLarge
from egress.grpc.messages import encoding_of, only_message

ONE = Frame(b"one").encode()


def read(content: bytes, kind: Kind = Kind.GRPC, encoding: bytes = b"identity", limit: int = 100) -> bytes:
    """Return the message in content."""
    return only_message(content, kind, encoding, limit)


class MessageTests(SynchronousTestCase):
    """The only message of a request."""

    def test_message(self) -> None:
        self.assertEqual(read(ONE), b"one")
        self.assertEqual(read(Frame(b"").encode()), b"")
        self.assertEqual(read(ONE, Kind.WEB), b"one")
        self.assertEqual(read(base64.b64encode(ONE), Kind.WEB_TEXT), b"one")
        # The flag decides, not the header field.
        self.assertEqual(read(ONE, encoding=b"gzip"), b"one")

    def test_other_content(self) -> None:
        for content in (b"", ONE[:-1], ONE + ONE, ONE + b"\0", b"\x80\0\0\0\0", b"\2\0\0\0\0"):
            self.assertRaises(MalformedFrame, read, content)
        self.assertRaises(MalformedFrame, read, b"!", Kind.WEB_TEXT)
        self.assertRaises(MalformedFrame, read, b"AAAA!!!!", Kind.WEB_TEXT)
        self.assertRaises(MessageTooLarge, read, Frame(b"x" * 101).encode())

    def test_compressed(self) -> None:
        for encoding, data in ((b"gzip", gzip.compress(b"message")), (b"deflate", zlib.compress(b"message"))):
            self.assertEqual(read(Frame(data, compressed=True).encode(), encoding=encoding), b"message")

    def test_compressed_in_another_way(self) -> None:
        good = gzip.compress(b"message")
        for encoding, data in (
            (b"identity", good),
            (b"zstd", good),
            (b"gzip,gzip", good),
            (b"gzip", b"message"),
            (b"gzip", good[:-1]),
            (b"gzip", good + b"x"),
            (b"gzip", good + good),
            (b"deflate", good),
        ):
            self.assertRaises(MalformedFrame, read, Frame(data, compressed=True).encode(), encoding=encoding)

    def test_decompressed_size(self) -> None:
        data = Frame(gzip.compress(b"\0" * 101), compressed=True).encode()
        self.assertRaises(MessageTooLarge, read, data, encoding=b"gzip")
        bomb = Frame(gzip.compress(b"\0" * 10_000_000), compressed=True).encode()
        self.assertRaises(MessageTooLarge, read, bomb, encoding=b"gzip", limit=20_000)

    def test_encoding(self) -> None:
        self.assertEqual(encoding_of(()), b"identity")
        self.assertEqual(encoding_of(((b"A", b"b"), (b"Grpc-Encoding", b"gzip"))), b"gzip")
        self.assertEqual(encoding_of(((b"grpc-encoding", b"gzip"),) * 2), b"gzip,gzip")
