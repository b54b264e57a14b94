"""Tests for L{benchmarks.messages} and its modules."""

from __future__ import annotations

import zlib

from hpack import Decoder
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import message_frames as frames
from benchmarks.message_clients import DENIED, text_of
from benchmarks.message_origin import EVENT
from benchmarks.messages import ROWS, TUNNELS, groups, types
from egress.grpc.descriptors import Descriptors
from egress.policy.parse.load import parse_policy


class FrameTests(SynchronousTestCase):
    """Frames, which are read as they were written."""

    def test_http2(self) -> None:
        data = bytearray(frames.h2_frame(frames.HEADERS, frames.END_HEADERS, 3, b"block") + b"\0\0")
        self.assertEqual(list(frames.take_h2_frames(data)), [(frames.HEADERS, frames.END_HEADERS, 3, b"block")])
        self.assertEqual(data, b"\0\0")

    def test_http2_content(self) -> None:
        """Content is divided into frames, and the last one has the flags."""
        data = bytearray(frames.h2_data(1, b"x" * 20000, frames.END_STREAM) + b"\0\0\x01" + bytes(6))
        found = [(frame.flags, len(frame.payload)) for frame in frames.take_h2_frames(data)]
        self.assertEqual(found, [(0, 16384), (frames.END_STREAM, 3616)])

    def test_http2_beginning(self) -> None:
        client = frames.h2_beginning(client=True)
        self.assertTrue(client.startswith(frames.PREFACE))
        kinds = [frame.kind for frame in frames.take_h2_frames(bytearray(frames.h2_beginning(client=False)))]
        self.assertEqual(kinds, [frames.SETTINGS, frames.WINDOW_UPDATE])

    def test_websocket(self) -> None:
        first = frames.FINAL | frames.TEXT
        for size in (0, 125, 126, 65535, 65536):
            for key in (b"", b"\x01\x02\x03\x04"):
                data = frames.websocket_frame(first, b"m" * size, key)
                self.assertEqual(list(frames.take_websocket_frames(bytearray(data))), [(first, b"m" * size)])
                for part in (1, len(data) // 2, len(data) - 1):
                    self.assertEqual(list(frames.take_websocket_frames(bytearray(data[:part]))), [])

    def test_mask(self) -> None:
        """See the example in RFC 6455 section 5.7."""
        hello = frames.websocket_frame(0x81, b"Hello", b"\x37\xfa\x21\x3d")
        self.assertEqual(hello.hex(), "818537fa213d7f9f4d5158")

    def test_echoed_compression(self) -> None:
        """The compressed messages of a sender are valid in the other direction, with the history of the sender."""
        coder, decoder = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
        for number in (1, 2):
            sent = (coder.compress(text_of(number, 64)) + coder.flush(zlib.Z_SYNC_FLUSH))[:-4]
            self.assertEqual(decoder.decompress(sent + b"\0\0\xff\xff"), text_of(number, 64))

    def test_field_blocks(self) -> None:
        """All blocks of a connection mean the same."""
        lists = ((b":status", b"200"), (b"x-name", b"value")), ((b"grpc-status", b"0"),)
        blocks, decoder = frames.FieldBlocks(*lists), Decoder()
        for _ in range(3):
            found = [tuple(map(tuple, decoder.decode(block, raw=True))) for block in blocks.next()]
            self.assertEqual(tuple(found), lists)

    def test_grpc(self) -> None:
        self.assertEqual(frames.grpc_frame(frames.echo_message(b"ab")), b"\0\0\0\0\x04\x0a\x02ab")


class ContentTests(SynchronousTestCase):
    """The content of messages."""

    def test_size(self) -> None:
        self.assertEqual([len(text_of(7, size)) for size in (64, 65536)], [64, 65536])
        self.assertEqual(len(EVENT % 1), len(b"data: \n\n") + 64)


class RowTests(SynchronousTestCase):
    """The rows."""

    def test_titles(self) -> None:
        """A title is unique in its table, and each table begins with the case that the others are compared with."""
        self.assertEqual(len({(row.table, row.title) for row in ROWS}), len(ROWS))
        firsts = [rows[0] for rows in groups(ROWS).values()]
        self.assertEqual({row.asks for row in firsts} | {row.denies for row in firsts}, {0})

    def test_policies(self) -> None:
        """They are valid, and contain the forbidden content where it is denied."""
        for row in ROWS:
            if row.peer is None and row.service is None:
                parse_policy(TUNNELS + row.policy, "p.toml", "policy")
                self.assertTrue(not row.denies or DENIED in row.policy or "fields" in row.policy)

    def test_types(self) -> None:
        """They contain the method and the field of the rules."""
        method = Descriptors([types()]).find(frames.SERVICE, frames.METHOD)
        assert method is not None
        self.assertTrue(method.has_field(["text"]))
