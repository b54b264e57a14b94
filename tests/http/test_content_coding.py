"""Tests for L{egress.http.content_coding}."""

from __future__ import annotations

import gzip
import sys
import zlib
from importlib import import_module
from typing import Any
from unittest import mock

import brotli
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.content_coding import (
    FREE_LENGTH,
    MAX_MEMBERS,
    MAX_RATIO,
    Decoded,
    Undecodable,
    content_codings,
    decode,
)

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

LIMIT = 1 << 20
FIX = "(send it without Content-Encoding)"


def deflate(data: bytes) -> bytes:
    """Compress to raw deflate."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODERS: dict[str, Any] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


class ContentCodingsTests(SynchronousTestCase):
    """The codings that the header fields name."""

    def test_codings(self) -> None:
        for value, expected in (
            ("", ()),
            ("identity", ()),
            ("gzip", ("gzip",)),
            (" X-GZIP ", ("gzip",)),
            ("br,zstd", ("br", "zstd")),
            ("gzip , deflate\t,br", ("gzip", "deflate", "br")),
        ):
            found = content_codings(((b"Accept", b"*/*"), (b"Content-Encoding", value.encode())))
            self.assertEqual(found, expected, value)
        self.assertEqual(content_codings(()), ())
        self.assertEqual(content_codings(((b"content-encoding", b""), (b"Content_Encoding", b"identity"))), ())

    def test_unsupported(self) -> None:
        for value in (
            "compress",
            "gzip, identity",
            "gzip,",
            ",gzip",
            "gzip gzip",
            "gzip;q=1",
            "gzip, br, br, br",
            "\xe9",
        ):
            error = self.assertRaises(Undecodable, content_codings, ((b"Content-Encoding", value.encode("latin-1")),))
            self.assertEqual(
                error.reason,
                f"its Content-Encoding is not a list of up to 3 of the codings gzip, deflate, br and zstd {FIX}",
            )

    def test_ambiguous(self) -> None:
        for headers in (
            ((b"Content-Encoding", b"gzip"), (b"content-encoding", b"gzip")),
            ((b"Content-Encoding", b"gzip"), (b"Content_Encoding", b"identity")),
            ((b"Content_Encoding", b"gzip"),),
        ):
            error = self.assertRaises(Undecodable, content_codings, headers)
            self.assertEqual(error.reason, f"its Content-Encoding is repeated, or has an unusual spelling {FIX}")


class DecodeTests(SynchronousTestCase):
    """Decoded content."""

    def decode(self, body: bytes, *codings: str, limit: int = LIMIT) -> Decoded:
        self.work: list[int] = []
        found = decode(body, codings, limit, self.work.append)
        self.assertLess(len(body), sum(self.work))
        return found

    def refuse(self, body: bytes, *codings: str, limit: int = LIMIT) -> str:
        return str(self.assertRaises(Undecodable, self.decode, body, *codings, limit=limit).reason)

    @given(st.binary(max_size=300), st.lists(st.sampled_from(sorted(ENCODERS)), max_size=3))
    def test_round_trip(self, body: bytes, codings: list[str]) -> None:
        encoded, earlier = body, []
        for coding in codings:
            encoded = ENCODERS[coding](encoded)
            earlier.append(encoded)
        found = decode(encoded, tuple(codings), LIMIT, lambda work: None)
        self.assertEqual(found, Decoded(body, tuple(reversed(earlier))))

    def test_long_content(self) -> None:
        body = str(list(range(100_000))).encode()
        for coding, encode in ENCODERS.items():
            self.assertEqual(self.decode(encode(body), coding).content, body, coding)
            # In small steps.
            self.assertLess(max(self.work), 200_000)
            self.assertGreater(len(self.work), 5)
        self.assertEqual(self.decode(deflate(body), "deflate").content, body)

    def test_incomplete_and_more(self) -> None:
        """Each prefix, and each content with data after its end, is undecodable."""
        body = b'{"environment":"production"}' * 3
        for coding, encode in {**ENCODERS, "raw": deflate}.items():
            name = "deflate" if coding == "raw" else coding
            encoded = encode(body)
            for bad in (
                *(encoded[:length] for length in range(len(encoded))),
                encoded + b"\0",
                encoded + b"x" * 40_000,
            ):
                self.assertEqual(self.refuse(bad, name), f"its content is not complete, valid {name} {FIX}")

    def test_changed(self) -> None:
        """Checksums are checked."""
        options = {zstd.CompressionParameter.checksum_flag: 1}
        for name, encoded in (
            ("gzip", gzip.compress(b"hello")),
            ("deflate", zlib.compress(b"hello")),
            ("zstd", zstd.compress(b"hello", options=options)),
        ):
            changed = encoded[:-1] + bytes([encoded[-1] ^ 1])
            self.assertEqual(self.refuse(changed, name), f"its content is not complete, valid {name} {FIX}")

    def test_members(self) -> None:
        for name in ("gzip", "zstd"):
            encode = ENCODERS[name]
            found = self.decode(encode(b"one ") + encode(b"") + encode(b"two"), name)
            self.assertEqual((found.content, found.has_members), (b"one two", True))
            self.assertTrue(self.decode(gzip.compress(encode(b"a") + encode(b"b")), name, "gzip").has_members)
            self.assertIn("is not complete, valid", self.refuse(encode(b"one") + b"two", name))
            most = encode(b"") * MAX_MEMBERS
            self.assertEqual(self.decode(most, name).content, b"")
            self.assertEqual(
                self.refuse(most + encode(b""), name), f"its content has more than 256 members in {name} {FIX}"
            )
        # Some decoders skip these frames.
        self.assertIn("valid zstd", self.refuse(b"P*M\x18\x03\0\0\0abc" + zstd.compress(b"x"), "zstd"))
        self.assertIn("valid br", self.refuse(brotli.compress(b"x") * 2, "br"))

    def test_deflate_in_two_formats(self) -> None:
        """Data that is valid both with and without the zlib header."""
        # As raw deflate: a stored block of 0xb201 bytes. As zlib: another stored block.
        body = bytes([0x78, 0x01, 0xB2, 0xFE, 0x4D])
        self.assertIn("valid deflate", self.refuse(body + b"x" * 100, "deflate"))
        # Invalid with the header, and not tried without it.
        self.assertIn("valid deflate", self.refuse(b"\x78\x9cabcdefgh", "deflate"))
        self.assertIn("valid deflate", self.refuse(b"\x78", "deflate"))

    def test_dictionaries_and_windows(self) -> None:
        compressor = zlib.compressobj(zdict=b"dictionary")
        self.assertIn("valid deflate", self.refuse(compressor.compress(b"dictionary") + compressor.flush(), "deflate"))
        options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
        wide = zstd.ZstdCompressor(options=options)
        data = wide.compress(b"x") + wide.flush()
        self.assertIn("valid zstd", self.refuse(data, "zstd"))

    def test_limits(self) -> None:
        reason = (
            "its decoded content is longer than {:,} bytes, or more than 200 times as long as sent (send less content "
            "in one request, or without Content-Encoding)"
        )
        for name, encode in ENCODERS.items():
            self.assertEqual(len(self.decode(encode(bytes(FREE_LENGTH)), name).content), FREE_LENGTH)
            self.assertEqual(self.refuse(encode(bytes(FREE_LENGTH + 1)), name), reason.format(LIMIT))
            data = bytes(range(256)) * 100
            self.assertEqual(self.decode(encode(data), name, limit=len(data)).content, data)
            self.assertEqual(self.refuse(encode(data), name, limit=len(data) - 1), reason.format(len(data) - 1))
        # All members together, and each coding.
        self.assertEqual(self.refuse(gzip.compress(bytes(FREE_LENGTH)) * 2, "gzip"), reason.format(LIMIT))
        self.assertEqual(self.refuse(brotli.compress(gzip.compress(bytes(LIMIT))), "gzip", "br"), reason.format(LIMIT))
        self.assertGreater(FREE_LENGTH, MAX_RATIO)

    def test_without_libraries(self) -> None:
        lacking = dict.fromkeys(("brotli", "backports.zstd", "compression.zstd"))
        with mock.patch.dict(sys.modules, lacking):
            for name, coding in (("brotli", "br"), ("backports.zstd", "zstd")):
                fix = f"the operator can install the package {name}"
                expected = f"the proxy lacks the library for content in {coding} ({fix})"
                self.assertEqual(self.refuse(b"x", coding), expected)
