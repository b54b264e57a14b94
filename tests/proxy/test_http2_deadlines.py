"""Tests for L{egress.proxy.http2_deadlines}; see also the sessions."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.http2_deadlines import expire


class _Stream:
    """A stream with a deadline."""

    def __init__(self, deadline: float | None, later: float | None = None) -> None:
        self.deadline = deadline
        self._later = later
        self.calls = 0

    def expired(self) -> None:
        self.calls += 1
        self.deadline = self._later


class ExpireTests(SynchronousTestCase):
    """The streams whose time is over, and the next deadline."""

    def test_expired(self) -> None:
        streams: Any = {1: _Stream(5), 3: _Stream(9), 5: _Stream(None), 7: _Stream(4, later=8)}
        self.assertEqual(expire(streams, 5.0), 8)
        self.assertEqual([each.calls for each in streams.values()], [1, 0, 0, 1])

    def test_no_deadline(self) -> None:
        self.assertIsNone(expire({}, 5.0))
