"""What one exchange charges to budgets: its request at the beginning, and its bytes as they are transferred."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from zope.interface import implementer

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.token_bucket import SECOND
from egress.authz.budgets.waiting import MANY, Waiting
from egress.interfaces import ICharge
from egress.model.errors import BudgetExhausted, EgressError


class Counter(Protocol):
    """Counts the bytes of exchanges; L{egress.authz.budgets.ledger.BudgetLedger} implements it."""

    def refusal(self, buckets: Sequence[Bucket], count: int) -> BudgetExhausted | None:
        """Return why a number of bytes is not permitted; C{None}: it is."""

    def left(self, buckets: Sequence[Bucket]) -> int:
        """Return the number of bytes that are permitted."""

    def spend(self, buckets: Sequence[Bucket], count: int) -> None:
        """Count bytes that are transferred."""

    def refund(self, buckets: Sequence[Bucket], count: int) -> None:
        """Return counted bytes that are not transferred after all."""

    @property
    def waiting(self) -> Waiting | None:
        """The exchanges that wait for the engine; C{None} if none has to."""


@attrs.frozen(eq=False)
class Need:
    """What a request needs of a bucket.

    @ivar bucket: the bucket.
    @ivar tokens: the number of tokens.
    @ivar is_spent: whether the request spends the tokens; bytes are spent when they are transferred.
    """

    bucket: Bucket
    tokens: int
    is_spent: bool


def exhausted(bucket: Bucket, wait: float) -> BudgetExhausted:
    """Return the error for a bucket with too few tokens.

    @param wait: the time after which there are enough, in microseconds.
    """
    budget = bucket.budget
    return BudgetExhausted(
        f"the rule {budget.rule_id} permits {budget} ([rules.{budget.table}])",
        rule_id=budget.rule_id,
        budget=budget.name,
        retry_after=max(1, math.ceil(wait / SECOND)),
    )


def too_large(bucket: Bucket, tokens: int) -> BudgetExhausted:
    """Return the error for more tokens than a full bucket contains."""
    budget = bucket.budget
    return BudgetExhausted(
        f"the rule {budget.rule_id} permits {budget} ([rules.{budget.table}]), but the content has {tokens:,} bytes",
        rule_id=budget.rule_id,
        budget=budget.name,
    )


@implementer(ICharge)
class Charge:
    """The charges of one exchange.

    @param counter: counts the bytes.
    @param buckets: the buckets that count them.
    @ivar observed: the error that would have prevented the exchange, in observe mode.
    """

    __slots__ = ("_buckets", "_counter", "observed")

    def __init__(self, counter: Counter, buckets: Sequence[Bucket], observed: EgressError | None = None) -> None:
        self.observed = observed
        self._counter = counter
        self._buckets = buckets
        for bucket in buckets:
            bucket.users += 1

    @property
    def counts_bytes(self) -> bool:
        """See L{ICharge}."""
        return bool(self._buckets)

    def refusal(self, count: int) -> BudgetExhausted | None:
        """See L{ICharge}."""
        return self._counter.refusal(self._buckets, count)

    @property
    def left(self) -> int:
        """See L{ICharge}."""
        return self._counter.left(self._buckets)

    @property
    def room(self) -> int:
        """See L{ICharge}."""
        waiting = self._counter.waiting
        return MANY if waiting is None else waiting.room(self._buckets)

    def spend(self, count: int) -> None:
        """See L{ICharge}."""
        self._counter.spend(self._buckets, count)

    def refund(self, count: int) -> None:
        """See L{ICharge}."""
        self._counter.refund(self._buckets, count)

    def wait(self, then: Callable[[], None]) -> bool:
        """See L{ICharge}."""
        waiting = self._counter.waiting
        return waiting is not None and waiting.wait(self._buckets, self, then)

    def close(self) -> None:
        """See L{ICharge}."""
        buckets, self._buckets = self._buckets, ()
        if self._counter.waiting is not None:
            self._counter.waiting.leave(buckets, self)
        for bucket in buckets:
            bucket.users -= 1
