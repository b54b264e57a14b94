"""Tests for L{egress.http2.waiting}."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import END
from egress.http2.waiting import add_event


class WaitingTests(SynchronousTestCase):
    """Small pieces of content are joined."""

    def added(self, *events: Any) -> list[Any]:
        waiting: deque[Any] = deque()
        for event in events:
            add_event(waiting, event)
        return list(waiting)

    def test_small_pieces(self) -> None:
        found = self.added(*[b"ab"] * 32_768)
        self.assertEqual(b"".join(found), b"ab" * 32_768)
        self.assertLess(len(found), 20)

    def test_large_pieces(self) -> None:
        """Long content is not copied."""
        large = b"x" * 16_384
        self.assertEqual(self.added(b"a", large, large, b"b", b"c"), [b"a", large, large, b"bc"])

    def test_other_events(self) -> None:
        self.assertEqual(self.added(b"a", END, b"b"), [b"a", END, b"b"])
        self.assertEqual(self.added(END), [END])
