"""The exchanges that wait until the engine has counted their bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.shares import Shares
from egress.config.model import KIB

_log = Logger()

MANY: Final = 1 << 62
"""More bytes than an exchange transfers."""

# The bytes that an exchange most often transfers before it can wait again: one read of a transport.
_READ: Final = 64 * KIB
# The maximum number of exchanges of one bucket that continue in one turn of the reactor.
_CONTINUED: Final = 100


class Waiting:
    """The exchanges that wait, in the order of their arrival.

    An exchange waits only while a command about its bucket has no reply.  At the end of each command, L{wake} lets as
    many exchanges continue as can transfer a read each.  The others follow in later turns of the reactor, or after the
    next command.

    @param ask: takes bytes from the engine in advance, if a bucket has too few.
    """

    def __init__(self, clock: IReactorTime, shares: Shares, ask: Callable[[Bucket], None]) -> None:
        self._clock = clock
        self._shares = shares
        self._ask = ask
        self._queues: dict[Bucket, dict[Hashable, Callable[[], None]]] = {}
        # The buckets about which a command has ended, and whether it has failed.
        self._woken: dict[Bucket, bool] = {}
        self._timer: IDelayedCall | None = None

    def room(self, buckets: Sequence[Bucket]) -> int:
        """Return the number of bytes, at least one, that an exchange may transfer before it must wait."""
        if not self._shares.counts_together:
            return MANY
        processes = self._shares.members
        rooms = [(bucket.room(processes), bucket) for bucket in buckets]
        return min([room if room > 0 else bucket.ahead(processes) for room, bucket in rooms], default=MANY)

    def wait(self, buckets: Sequence[Bucket], key: Hashable, then: Callable[[], None]) -> bool:
        """Return whether an exchange must wait; if so, C{then} is called at its end.

        @param key: identifies the exchange.
        """
        for bucket in buckets:
            if self._is_crowded(bucket):
                self._queues.setdefault(bucket, {}).setdefault(key, then)
                return True
        return False

    def _is_crowded(self, bucket: Bucket) -> bool:
        shares = self._shares
        return bucket.is_asking and shares.counts_together and bucket.room(shares.members) <= 0

    def leave(self, buckets: Sequence[Bucket], key: Hashable) -> None:
        """Remove an exchange."""
        for bucket in buckets:
            queue = self._queues.get(bucket)
            if queue is not None and queue.pop(key, None) is not None and not queue:
                del self._queues[bucket]

    def wake(self, bucket: Bucket, *, has_failed: bool = False) -> None:
        """Let exchanges continue in the next turn of the reactor, because a command about a bucket has ended."""
        if bucket in self._queues:
            self._woken[bucket] = has_failed
            if self._timer is None:
                self._timer = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._timer = None
        woken, self._woken = self._woken, {}
        for bucket, has_failed in woken.items():
            if not has_failed and self._shares.counts_together:
                # Its reply arrives while the exchanges transfer what they may.
                self._ask(bucket)
            count = _CONTINUED
            if not has_failed:
                count = 0 if self._is_crowded(bucket) else min(count, 1 + self.room([bucket]) // _READ)
            for _ in range(count):
                queue = self._queues.get(bucket)
                if queue is None:
                    break
                key = next(iter(queue))
                then = queue[key]
                self.leave([bucket], key)
                self._continue(then)
            if count:
                self.wake(bucket, has_failed=has_failed)

    @staticmethod
    def _continue(then: Callable[[], None]) -> None:
        try:
            then()
        except Exception:  # noqa: BLE001 - the others must continue
            _log.failure("an exchange with a budget cannot continue")
