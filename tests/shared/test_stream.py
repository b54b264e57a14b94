"""Replies of the engine about a stream."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.shared.stream import earlier, entries_of, is_number, position

NUMBER = b"1700000000000-7"


class NumberTests(SynchronousTestCase):
    """The numbers of entries."""

    def test_valid(self) -> None:
        for number, expected in ((NUMBER, True), (b"1-", False), (b"-1", False), (b"1-1\n", False), ("1-1", False)):
            with self.subTest(number=number):
                self.assertIs(is_number(number), expected)
        self.assertFalse(is_number(b"1" * 21 + b"-1"))

    def test_order(self) -> None:
        """Numbers are compared as numbers, not as text."""
        self.assertLess(position(b"9-10"), position(b"10-9"))
        self.assertLess(position(b"9-9"), position(b"9-10"))

    def test_earlier(self) -> None:
        self.assertEqual(earlier(NUMBER, 1000), b"1699999999000-7")
        self.assertEqual(earlier(NUMBER, 0), NUMBER)
        self.assertEqual(earlier(b"5-7", 1000), b"0-7")


class EntriesTests(SynchronousTestCase):
    """Replies to C{XREAD}."""

    def test_valid(self) -> None:
        entries = [[NUMBER, [b"e", b"value"]]]
        self.assertEqual(entries_of([[b"stream", entries]]), entries)
        self.assertEqual(entries_of(None), [])

    def test_invalid(self) -> None:
        """Someone who answers in place of the engine can send any reply."""
        for reply in (7, b"OK", [], [[b"stream"]], [[b"stream", b"x"]], [[b"stream", [[b"x", []]]]], [[b"s", [7]]]):
            with self.subTest(reply=reply):
                self.assertIsNone(entries_of(reply))
