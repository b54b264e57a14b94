"""Tests for L{fuzz.mutators}: a mutation keeps the framing of an input valid."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from random import Random

from hpack import Decoder
from hpack.exceptions import HPACKDecodingError
from twisted.trial.unittest import SynchronousTestCase

from egress.http.proxy_header import InvalidProxyHeader, ProxyHeader, parse_proxy_header
from fuzz.mutators import FRAMINGS, GrpcFraming, Http2Framing, ProxyFraming, Unit, WebSocketFraming, block, mutator
from fuzz.sent_frames import frames

CORPUS = Path(__file__).parent.parent.parent / "fuzz" / "corpus"


def replace(data: bytes, limit: int) -> bytes:
    """Change bytes as a fuzzer may."""
    return (data[::-1] + b"?")[:limit]


class MutatorTests(SynchronousTestCase):
    """Mutations of the corpus."""

    def test_units_are_the_whole_input(self) -> None:
        for name, (framing, _) in FRAMINGS.items():
            for seed in range(300):
                units = list(framing.new(Random(seed)))
                self.assertEqual(framing.split(b"".join(map(framing.join, units))), units, name)

    def test_the_limit_and_the_seed(self) -> None:
        for name, (framing, prefix) in FRAMINGS.items():
            change = mutator(framing, replace, prefix)
            (file, *_) = (CORPUS / name).iterdir()
            for seed in range(300):
                found = change(file.read_bytes(), 100, seed)
                self.assertLessEqual(len(found), 100)
                self.assertEqual(found, change(file.read_bytes(), 100, seed))

    def test_frames_have_their_lengths(self) -> None:
        for name, client in (("http2", True), ("http2_origin", False)):
            change = mutator(FRAMINGS[name][0], lambda data, limit: data, 0)
            data, kinds = b"", set[int]()
            for seed in range(2000):
                data = change(data, 2000, seed)
                found = list(frames(data))
                self.assertEqual(sum(9 + len(payload) for *_, payload in found), len(data))
                kinds |= {kind for kind, *_ in found}
            self.assertTrue(kinds.issuperset(range(10)), (kinds, client))

    def test_header_blocks(self) -> None:
        fields = [(b":method", b"GET"), (b"x-long", b"x" * 300)]
        found = 0
        for seed in range(100):
            encoded = block(fields, Random(seed))
            with contextlib.suppress(HPACKDecodingError):
                self.assertEqual([tuple(field) for field in Decoder().decode(encoded, raw=True)][:2], fields)
                found += 1
        self.assertGreater(found, 30)

    def test_compressed_messages(self) -> None:
        framing, found = WebSocketFraming(), 0
        for seed in range(200):
            (unit, *more) = framing.new(Random(seed))
            if unit.head[0] == 0xC1:
                found += 1
                changed = framing.payload(unit, Random(seed), lambda data, limit: b"changed")
                if changed != b"changed":
                    content = zlib.decompressobj(-15).decompress(changed + b"\0\0\xff\xff")
                    self.assertEqual((content, more), (b"changed", []))
        self.assertGreater(found, 30)

    def test_checksums(self) -> None:
        framing, found = ProxyFraming(), 0
        for seed in range(300):
            data = b"".join(map(framing.join, framing.new(Random(seed))))
            with contextlib.suppress(InvalidProxyHeader):
                found += isinstance(parse_proxy_header(data), ProxyHeader)
        self.assertGreater(found, 100)

    def test_parts_without_a_header(self) -> None:
        for framing in (Http2Framing(client=True), WebSocketFraming(), GrpcFraming()):
            self.assertEqual(framing.split(b"\1"), [Unit(b"", b"\1")])
            self.assertEqual(framing.join(Unit(b"", b"\1")), b"\1")
