"""Threads for tests: there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import threads


class WithoutThreads:
    """What a reactor has of threads; whatever comes from one is run at once."""

    def callFromThread(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        call(*arguments, **named)


def at_once(case: SynchronousTestCase) -> None:
    """Have what is for a thread run at once during a test, in place of it."""
    case.patch(threads, "IDLE_SECONDS", 0)
    case.patch(threads, "start_daemon", lambda target, name: target())
