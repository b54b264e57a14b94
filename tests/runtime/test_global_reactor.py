"""Tests for L{egress.runtime.global_reactor}."""

from __future__ import annotations

import twisted.internet
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.global_reactor import global_reactor


class GlobalReactorTests(SynchronousTestCase):
    """The reactor is imported when it is needed, not when a module is imported."""

    def test_installed(self) -> None:
        global_reactor()
        installed = object()
        self.patch(twisted.internet, "reactor", installed)
        self.assertIs(global_reactor(), installed)
