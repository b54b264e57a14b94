"""The buckets of a process, of which there is a limited number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from egress.authz.budgets.bucket import Bucket
from egress.model.budget import Budget
from egress.shared.keys import SharedKeys

MAX_BUCKETS: Final = 65_536
"""The maximum number of buckets."""

# The number of buckets that are examined for a new one.
_EXAMINED: Final = 8

_KIND: Final = b"budget"


class BucketTable:
    """Finds the bucket of a budget and a client or host.

    Only a bucket that is full and unused is dropped, because a new one is equal to it.

    @param name_of: returns the name of a bucket in the engine; C{None}: there is no engine.
    @param limit: the maximum number of buckets.
    """

    def __init__(self, name_of: Callable[[Budget, str], bytes] | None, limit: int = MAX_BUCKETS) -> None:
        self._name_of = name_of
        self._limit = limit
        self._buckets: OrderedDict[tuple[Budget, str], Bucket] = OrderedDict()

    def __len__(self) -> int:
        """The number of buckets."""
        return len(self._buckets)

    def find(self, budget: Budget, value: str) -> Bucket | None:
        """Return a bucket; C{None} if it is unknown, and there are too many others."""
        key = budget, value
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._limit:
            return None
        bucket = self._buckets[key] = Bucket(key, b"" if self._name_of is None else self._name_of(budget, value))
        return bucket

    def buckets(self) -> list[Bucket]:
        """Return all buckets; the ones that were used last are last."""
        return list(self._buckets.values())

    def drop(self, now: float) -> None:
        """Drop full buckets, beginning with the one that was not used for the longest time.

        Others can have used a bucket that seems to be full, so a recent one stays while there is enough memory.
        A bucket that was found and not used yet is full, so this must not be called between both.
        """
        for _ in range(min(_EXAMINED, len(self._buckets))):
            key, bucket = next(iter(self._buckets.items()))
            if bucket.is_idle(now) and (not bucket.is_recent(now) or 2 * len(self._buckets) > self._limit):
                del self._buckets[key]
            else:
                self._buckets.move_to_end(key)


def name_of(keys: SharedKeys, budget: Budget, value: str) -> bytes:
    """Return the name of a bucket in the engine.

    @param value: the client or the host.
    """
    group = keys.group(budget.rule_id.encode("utf-8"))
    facts = repr((budget.table, budget.unit.value, budget.amount, budget.per, budget.capacity, budget.by.value))
    return keys.name(group, _KIND, f"{facts}{value}".encode("utf-8", "backslashreplace"))
