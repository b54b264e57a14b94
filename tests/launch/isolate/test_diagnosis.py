"""Tests for L{egress.launch.isolate.diagnosis}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.diagnosis import explain
from egress.launch.isolate.messages import Failed


class ExplainTests(SynchronousTestCase):
    """The cause and the fix, in one line."""

    def test_platform(self) -> None:
        self.assertEqual(explain(Failed("platform", 0, "darwin")), "namespaces exist only on Linux, and this is darwin")

    def test_other(self) -> None:
        self.assertEqual(explain(Failed("network", 12, "x")), "network: Cannot allocate memory (x)")
