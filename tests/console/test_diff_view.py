"""Tests for L{egress.console.diff_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.diff_view import DiffView
from egress.policy.learn.insertion import diff_of


class DiffViewTests(SynchronousTestCase):
    """The lines of a difference."""

    def test_lines(self) -> None:
        view = DiffView.of(diff_of("a\n++b\n", "a\n--c\n", "x"))
        self.assertEqual(
            [(line.kind, line.text) for line in view.lines],
            [("place", "@@ -1,2 +1,2 @@"), ("same", " a"), ("removed", "-++b"), ("added", "+--c")],
        )
        self.assertEqual((DiffView.of([]), view.more), (DiffView(), 0))

    def test_bounds(self) -> None:
        view = DiffView.of(diff_of("", "a\n" * 1000, "x"))
        self.assertEqual((len(view.lines), view.more), (600, 401))
