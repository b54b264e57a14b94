"""Tests for L{egress.http2.field_blocks}."""

from __future__ import annotations

import random

from h2.errors import ErrorCodes
from hpack.hpack import Decoder, Encoder
from twisted.trial.unittest import SynchronousTestCase

from egress.http2.field_blocks import BlockDecoder, BlockEncoder, CompressionError
from egress.http2.frames import CalmError
from egress.model.decision import Header


def random_lists(count: int) -> list[list[Header]]:
    """Field lists with repeated names and values of any length."""
    source = random.Random(1)
    names = [b":path", b"cookie", b"etag", b"date", *(bytes(source.choices(b"abcxyz-", k=9)) for _ in range(20))]
    values = [bytes(source.choices(range(32, 127), k=source.randint(0, 400))) for _ in range(100)]
    return [[(source.choice(names), source.choice(values)) for _ in range(source.randint(0, 12))] for _ in range(count)]


class DecoderTests(SynchronousTestCase):
    """Blocks of a peer."""

    def setUp(self) -> None:
        self.decoder = BlockDecoder(1000)

    def test_as_hpack(self) -> None:
        """It decodes what another implementation encodes, with changes of the table size."""
        encoder, decoder = Encoder(), BlockDecoder(1_000_000)
        for number, fields in enumerate(random_lists(500)):
            if number % 50 == 25:
                encoder.header_table_size = (0, 100, 4096)[number // 50 % 3]
            self.assertEqual(decoder.decode(encoder.encode(fields, huffman=number % 2 == 0)), fields)

    def test_representations(self) -> None:
        """RFC 7541 appendix C.2, and an index with a long name."""
        self.assertEqual(
            self.decoder.decode(b"\x40\x0acustom-key\x0dcustom-header"), [(b"custom-key", b"custom-header")]
        )
        self.assertEqual(self.decoder.decode(b"\xbe\x04\x02/a"), [(b"custom-key", b"custom-header"), (b":path", b"/a")])
        self.assertEqual(self.decoder.decode(b"\x0f\x2f\x01a"), [(b"custom-key", b"a")])
        self.assertEqual(self.decoder.decode(b"\x10\x08password\x06secret"), [(b"password", b"secret")])
        self.assertEqual(self.decoder.decode(b"\x82"), [(b":method", b"GET")])

    def test_a_long_list(self) -> None:
        self.decoder.decode(b"\x40\x01a\x7f\x81\x06" + b"x" * 896)
        error = self.assertRaises(CalmError, self.decoder.decode, b"\xbe\xbe")
        self.assertEqual(error.error_code, ErrorCodes.ENHANCE_YOUR_CALM)

    def test_an_entry_larger_than_the_table(self) -> None:
        decoder = BlockDecoder(10_000)
        decoder.decode(b"\x40\x01a\x01b")
        decoder.decode(b"\x40\x01a\x7f\xa1\x1f" + b"x" * 4128)
        self.assertRaises(CompressionError, decoder.decode, b"\xbe")

    def test_invalid_blocks(self) -> None:
        for name, block in {
            "index 0": b"\x80",
            "an unknown index": b"\xbe",
            "an unknown name": b"\x7e\x01a",
            "a long integer": b"\xff\x80\x80\x80\x80\x01",
            "an incomplete integer": b"\xff\x80",
            "an incomplete name": b"\x40\x05abc",
            "an incomplete value": b"\x40\x01a\x05bc",
            "no value": b"\x40\x01a",
            "padding of a Huffman string": b"\x40\x01a\x82\xff\xff",
            "a late table size": b"\x82\x20",
            "many table sizes": b"\x20" * 9,
            "a large table size": b"\x3f\xe2\x1f",
        }.items():
            with self.subTest(name):
                error = self.assertRaises(CompressionError, self.decoder.decode, block)
                self.assertEqual(error.error_code, ErrorCodes.COMPRESSION_ERROR)


class EncoderTests(SynchronousTestCase):
    """Blocks for a peer."""

    def test_as_hpack(self) -> None:
        """Another implementation decodes them."""
        encoder, decoder = BlockEncoder(), Decoder(1_000_000)
        for fields in random_lists(500):
            self.assertEqual([tuple(field) for field in decoder.decode(encoder.encode(fields), raw=True)], fields)

    def test_secrets_are_never_indexed(self) -> None:
        encoder, decoder = BlockEncoder(), Decoder()
        fields = [(b"authorization", b"a"), (b"cookie", b"b"), (b"set-cookie", b"c"), (b"proxy-authorization", b"d")]
        found = list(decoder.decode(encoder.encode([*fields, (b"date", b"e")]), raw=True))
        self.assertEqual([field.indexable for field in found], [False] * 4 + [True])
