"""The master that a process uses: it is the one that the sentinels name, and is left when they name another one.

A master that was separated from the sentinels continues to accept commands.  So a process uses it only as long as a
sentinel confirms it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from egress.model.authority import Authority

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from egress.shared.sentinels import Sentinels

INTERVAL: Final = 0.5
"""Seconds between two questions to a sentinel."""

CONFIRMED_FOR: Final = 10.0
"""Seconds for which a master is used without a response of a sentinel."""


class MasterWatch:
    """Follows the master.

    @param moved: is called with the reason when the master must not be used any more.
    @ivar address: the address of the master that is used, or to which a connection is opened.
    @ivar changes: the number of times that the sentinels named another master.
    """

    def __init__(self, clock: IReactorTime, sentinels: Sentinels, moved: Callable[[str], object]) -> None:
        self.address: Authority | None = None
        self.changes = 0
        self._clock = clock
        self._sentinels = sentinels
        self._moved = moved
        self._last: Authority | None = None
        self._confirmed_at = 0.0
        self._timer: IDelayedCall | None = None
        self._running = self._is_finding = False

    def find(self) -> Deferred[Authority]:
        """Return the address of the master, and use it from now on.

        @return: fails with L{egress.shared.redis_protocol.SharedUnavailable} if no sentinel names one.
        """
        self.address = None
        self._is_finding = True
        return self._sentinels.find().addBoth(self._found).addCallback(self._use)

    def _found(self, result: Authority | Failure) -> Authority | Failure:
        self._is_finding = False
        return result

    def _use(self, master: Authority) -> Authority:
        self.address = master
        self._confirmed_at = self._clock.seconds()
        self.changes += self._last not in (None, master)
        self._last = master
        return master

    def start(self) -> None:
        """Ask the sentinels again and again."""
        self._running = True
        self._timer = self._clock.callLater(INTERVAL, self._ask)

    def stop(self) -> None:
        """Do not ask any more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sentinels.stop()

    def _ask(self) -> None:
        self._timer = None
        self._sentinels.find().addCallbacks(self._named, self._not_named).addBoth(self._again)

    def _named(self, master: Authority) -> None:
        if master == self.address:
            self._confirmed_at = self._clock.seconds()
        elif self._running and not self._is_finding:
            self._moved(f"the sentinels name the master {master}")

    def _not_named(self, failure: Failure) -> None:
        silent = self._clock.seconds() - self._confirmed_at
        if self._running and self.address is not None and silent >= CONFIRMED_FOR:
            reason = f"no sentinel has confirmed the master for {CONFIRMED_FOR:g} s"
            self._moved(f"{reason}: {failure.getErrorMessage()}")

    def _again(self, _: object) -> None:
        if self._running:
            self._timer = self._clock.callLater(INTERVAL, self._ask)
