"""Tests for L{egress.model.message_counts}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.message import Direction, MessageKind
from egress.model.message_counts import MessageCounts


class MessageCountsTests(SynchronousTestCase):
    """Counts of messages."""

    def test_all_labels_begin_at_zero(self) -> None:
        counts = MessageCounts()
        self.assertEqual(len(counts.counts), 4 * 3 * 2)
        self.assertEqual(set(counts.counts.values()), {0})
        counts.add("deny", MessageKind.SSE, Direction.ORIGIN)
        self.assertEqual(
            {key: number for key, number in counts.counts.items() if number}, {("deny", "sse", "origin"): 1}
        )
