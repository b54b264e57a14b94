"""A reactor for a command, or for a check before a program starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from egress.runtime.global_reactor import global_reactor
from egress.runtime.signals import StopSignals

T = TypeVar("T")


def run(start: Callable[[Any], Deferred[T]]) -> T:
    """Run the reactor until there is a result.  A process can do this once.

    @param start: is called with the reactor, once it runs.
    @raise Exception: the failure of the result; C{KeyboardInterrupt} when the reactor is stopped first.
    """
    reactor = global_reactor()
    # The stop cancels the result and has no wait, so further signals have no effect.
    StopSignals(reactor)
    results: list[Any] = []

    def begin() -> None:
        running = maybeDeferred(start, reactor)
        reactor.addSystemEventTrigger("before", "shutdown", running.cancel)

        def ended(result: object) -> None:
            results.append(result)
            # The shutdown itself may have cancelled it.
            with suppress(ReactorNotRunning):
                reactor.stop()

        running.addBoth(ended)

    reactor.callWhenRunning(begin)
    reactor.run()
    (result,) = results or [Failure(KeyboardInterrupt())]  # type: ignore[no-untyped-call]
    if isinstance(result, Failure):
        if result.check(CancelledError):  # type: ignore[no-untyped-call]
            raise KeyboardInterrupt
        result.raiseException()
    answer: T = result
    return answer
