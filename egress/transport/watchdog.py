"""A timer for connections whose deadline changes often."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Watchdog:
    """Calls a function when a deadline passes.

    To move the deadline is an assignment: the underlying timer is only set again when it fires early, so a deadline
    that moves with every read is cheap.
    """

    __slots__ = ("_clock", "_deadline", "_expired", "_fires_at", "_timer")

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._deadline: float | None = None
        self._timer: IDelayedCall | None = None
        self._fires_at = 0.0

    def set(self, seconds: float | None) -> None:
        """Set the timeout in seconds, replacing the previous one; C{None} clears it."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = deadline = self._clock.seconds() + seconds
        if self._timer is not None:
            if self._fires_at <= deadline:
                return
            self._timer.cancel()
        self._arm(deadline)

    def clear(self) -> None:
        """Remove the deadline for now."""
        self._deadline = None

    def stop(self) -> None:
        """Stop the timer permanently."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        self._fires_at = deadline
        self._timer = self._clock.callLater(max(0.0, deadline - self._clock.seconds()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._clock.seconds() < self._deadline:
            self._arm(self._deadline)
            return
        self._deadline = None
        self._expired()
