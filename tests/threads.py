"""Threads for tests: there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import threads

R = TypeVar("R")


class WithoutThreads:
    """What a reactor has of threads; whatever comes from one is run at once."""

    def callFromThread(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        call(*arguments, **named)


class Later:
    """An L{threads.Offload} that runs each call when the test says so.

    @ivar begun: the calls; each entry runs one and passes on its result.
    """

    def __init__(self) -> None:
        self.begun: list[Callable[[], object]] = []

    def __call__(self, call: Callable[[], R], /) -> Deferred[R]:
        done: Deferred[R] = Deferred()
        self.begun.append(lambda: maybeDeferred(call).chainDeferred(done))
        return done


def at_once(case: SynchronousTestCase) -> None:
    """Have what is for a thread run at once during a test, in place of it."""
    case.patch(threads, "IDLE_SECONDS", 0)
    case.patch(threads, "start_daemon", lambda target, name: target())
