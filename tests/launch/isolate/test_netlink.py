"""Tests for L{egress.launch.isolate.netlink}."""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.netlink import attribute, message, nested, results, text
from tests.launch.isolate.kernel import acknowledgement


class EncodingTests(SynchronousTestCase):
    """Attributes and messages, on a machine with the least significant byte first or last."""

    def test_attribute(self) -> None:
        """The length is without the padding."""
        self.assertEqual(attribute(7, b"abcde"), struct.pack("=HH", 9, 7) + b"abcde\0\0\0")

    def test_text(self) -> None:
        self.assertEqual(text(1, "abc"), struct.pack("=HH", 8, 1) + b"abc\0")

    def test_nested(self) -> None:
        inner = attribute(1, b"four")
        self.assertEqual(nested(2, inner, inner), struct.pack("=HH", 20, 0x8002) + inner + inner)

    def test_message(self) -> None:
        self.assertEqual(message(16, 5, 9, b"abc"), struct.pack("=IHHII", 19, 16, 5, 9, 0) + b"abc\0")


class ResultTests(SynchronousTestCase):
    """The acknowledgements of the kernel."""

    def test_results(self) -> None:
        """Other messages, such as notes, are skipped."""
        note = message(3, 0, 5, b"x")
        data = acknowledgement(4, 0) + note + acknowledgement(5, -17)
        self.assertEqual(list(results(data)), [(4, 0), (5, 17)])

    def test_truncated(self) -> None:
        """What is not a message ends the datagram."""
        self.assertEqual(list(results(acknowledgement(4, 0) + b"\0" * 20)), [(4, 0)])
        self.assertEqual(list(results(struct.pack("=IHHII", 16, 2, 0, 1, 0))), [])
        self.assertEqual(list(results(b"abc")), [])
