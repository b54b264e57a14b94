"""Tests for L{egress.http.crc32c}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.crc32c import crc32c


class Crc32cTests(SynchronousTestCase):
    """The test vectors of RFC 3720 appendix B.4, and the usual one."""

    def test_vectors(self) -> None:
        for data, expected in (
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(reversed(range(32))), 0x113FDB5C),
        ):
            self.assertEqual(crc32c(data), expected)
