"""Replacements for threads in tests, which start no threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.runtime import threads

R = TypeVar("R")


class WithoutThreads:
    """The thread methods of a reactor, which run every call immediately."""

    def callFromThread(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        call(*arguments, **named)


@implementer(IReactorPluggableNameResolver)
class ThreadlessReactor(WithoutThreads, MemoryReactorClock):
    """A reactor in memory, which starts no threads and resolves no names."""

    nameResolver: Any = None

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError


class Later:
    """An L{threads.Offload} that runs each call when the test says so.

    @ivar begun: the pending calls; calling an entry runs it and passes on its result.
    """

    def __init__(self) -> None:
        self.begun: list[Callable[[], object]] = []

    def __call__(self, call: Callable[[], R], /) -> Deferred[R]:
        done: Deferred[R] = Deferred()
        self.begun.append(lambda: maybeDeferred(call).chainDeferred(done))
        return done


def immediately(call: Callable[[], R], /) -> Deferred[R]:
    """Run a call now: an L{threads.Offload}."""
    return maybeDeferred(call)


def at_once(case: SynchronousTestCase) -> None:
    """Make calls to threads run immediately during a test."""
    case.patch(threads, "IDLE_SECONDS", 0)
    case.patch(threads, "start_daemon", lambda target, name: target())
