"""The budgets of a process: it counts them itself, or together with other replicas in their shared state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.authz.budgets.bucket import Bucket
from egress.authz.budgets.charge import Charge, Need, exhausted, too_large
from egress.authz.budgets.script import TAKE, InvalidReply, arguments_of, read_reply
from egress.authz.budgets.shares import Shares
from egress.authz.budgets.table import MAX_BUCKETS, BucketTable, name_of
from egress.authz.budgets.token_bucket import SECOND, Operation
from egress.authz.budgets.waiting import MANY, Waiting
from egress.interfaces import IBudgets
from egress.model.budget import Budget, By, Unit, WithoutShared
from egress.model.decision import DecisionRequest
from egress.model.errors import BudgetExhausted, BudgetUnavailable
from egress.model.statistics import BudgetStats
from egress.shared.redis_protocol import UNUSABLE

_FAILED: Final = (*UNUSABLE, InvalidReply)
# The engine is not asked again for this time after it has refused, in microseconds.
_RECHECK: Final = 0.25 * SECOND
# The maximum number of buckets of which one sweep tells the engine, and of such commands without a reply.
_SWEPT: Final = 100
# The maximum number of buckets that one turn of the reactor examines.
_EXAMINED: Final = 1000


@implementer(IBudgets)
class BudgetLedger:
    """Counts requests and bytes.

    @param clock: the clock.
    @param shares: tells whether the engine counts, and how many processes share a budget while it does not.
    @param client_of: returns the name of the client of a request.
    @param observes: whether an exhausted budget only is reported.
    """

    def __init__(
        self,
        clock: IReactorTime,
        shares: Shares,
        client_of: Callable[[DecisionRequest], str],
        *,
        observes: bool = False,
        limit: int = MAX_BUCKETS,
    ) -> None:
        self._clock = clock
        self._shares = shares
        self._client_of = client_of
        self._observes = observes
        self._table = BucketTable(None if shares.keys is None else partial(name_of, shares.keys), limit)
        # The buckets that hold tokens, or owe them.
        self._active: OrderedDict[Bucket, None] = OrderedDict()
        # The buckets that the engine may have lost, and the number of commands that tell it about them.
        self._doubtful: list[Bucket] = []
        self._telling = 0
        # The buckets that the next sweeps examine.
        self._aging: list[Bucket] = []
        self._exhausted = self._unavailable = self._alone = self._failed = 0
        self.waiting = None if observes else Waiting(clock, shares, self._ask)
        shares.on_tick = self.sweep
        shares.on_doubt = self.tell

    def stats(self) -> BudgetStats:
        """Return the counts of requests by result."""
        return BudgetStats(
            buckets=len(self._table),
            exhausted=self._exhausted,
            unavailable=self._unavailable,
            alone=self._alone,
            failed=self._failed,
        )

    @property
    def is_used(self) -> bool:
        """Whether requests were counted."""
        return len(self._table) > 0

    def _now(self) -> float:
        return self._clock.seconds() * SECOND

    # -- the beginning of an exchange

    def take(self, request: DecisionRequest, budgets: Sequence[Budget]) -> Deferred[Any]:
        """See L{IBudgets}."""
        taking = self._take(request, budgets)
        return taking.addErrback(self._observed) if self._observes else taking

    def _observed(self, failure: Failure) -> Charge:
        failure.trap(BudgetExhausted, BudgetUnavailable)  # type: ignore[no-untyped-call]
        error: Any = failure.value
        return Charge(self, (), error)

    def _take(self, request: DecisionRequest, budgets: Sequence[Budget]) -> Deferred[Charge]:
        now = self._now()
        self._table.drop(now)
        needs: list[Need] = []
        for budget in budgets:
            bucket = self._table.find(budget, self._value(budget, request))
            if bucket is None:
                return fail(self._unknown(budget))
            tokens = 1 if budget.unit is Unit.REQUESTS else max(1, request.content_length or 0)
            if tokens > budget.capacity:
                return self._refuse(too_large(bucket, tokens))
            needs.append(Need(bucket, tokens, budget.unit is Unit.REQUESTS))
        if self._shares.counts_together:
            return self._take_together(needs, now)
        return self._take_alone(needs, now)

    def follow(self, request: DecisionRequest, budgets: Sequence[Budget]) -> Charge:
        """See L{IBudgets}."""
        self._table.drop(self._now())
        buckets = []
        for budget in budgets:
            if budget.unit is Unit.BYTES:
                bucket = self._table.find(budget, self._value(budget, request))
                if bucket is None:
                    raise self._unknown(budget)
                buckets.append(bucket)
        return Charge(self, buckets)

    def _value(self, budget: Budget, request: DecisionRequest) -> str:
        if budget.by is By.CLIENT:
            return self._client_of(request)
        return request.origin.authority.host if budget.by is By.HOST else ""

    def _charge(self, needs: Iterable[Need]) -> Charge:
        return Charge(self, [need.bucket for need in needs if not need.is_spent])

    def _refuse(self, error: BudgetExhausted) -> Deferred[Charge]:
        self._exhausted += 1
        return fail(error)

    def _unknown(self, budget: Budget) -> BudgetUnavailable:
        self._unavailable += 1
        why = f"the rule {budget.rule_id} has a budget for each {budget.by.value}, and too many of them are in use"
        return BudgetUnavailable(why, retry_after=1)

    # -- without the engine

    def _take_alone(self, needs: Sequence[Need], now: float) -> Deferred[Charge]:
        weight = self._shares.weight
        if self._shares.keys is not None:
            self._alone += 1
            self._shares.report()
            for need in needs:
                why = self._shares.refusal(need.bucket.budget.without_shared is WithoutShared.DENY)
                if why is not None:
                    self._unavailable += 1
                    budget = need.bucket.budget
                    text = f"the rule {budget.rule_id} permits {budget}, which cannot be counted: {why}"
                    return fail(BudgetUnavailable(text, retry_after=1))
        longest = max(needs, key=lambda need: need.bucket.wait(need.tokens, now, weight))
        wait = longest.bucket.wait(longest.tokens, now, weight)
        if wait > 0:
            return self._refuse(exhausted(longest.bucket, wait))
        for need in needs:
            if need.is_spent:
                self._spend(need.bucket, need.tokens, now, weight)
        return succeed(self._charge(needs))

    def _spend(self, bucket: Bucket, tokens: int, now: float, weight: int) -> None:
        bucket.spend(tokens, now, weight)
        if bucket.held:
            self._active[bucket] = None

    # -- with the engine

    def _take_together(self, needs: Sequence[Need], now: float) -> Deferred[Charge]:
        for need in needs:
            bucket = need.bucket
            wait = bucket.wait(need.tokens, now, 1) if now < bucket.refused_until else bucket.own_wait(need.tokens, now)
            if wait > 0:
                return self._refuse(exhausted(bucket, wait))
        missing = [need for need in needs if need.bucket.held < need.tokens]
        for need in needs:
            if need.is_spent:
                need.bucket.reserve(need.tokens, now)
                if need not in missing:
                    need.bucket.take_held(need.tokens)
        if not missing:
            return succeed(self._charge(needs))
        outcome: Deferred[Charge] = Deferred()
        connection = self._shares.connection
        operations = [need.bucket.operation(connection, need.tokens) for need in missing]
        self._send(missing, operations).addCallbacks(
            self._answered,
            self._unanswered,
            callbackArgs=(outcome, needs, missing, operations),
            errbackArgs=(outcome, needs, missing, operations),
        )
        return outcome

    def _send(self, needs: Sequence[Need], operations: Sequence[Operation]) -> Deferred[Any]:
        sent = self._shares.run(TAKE, [need.bucket.name for need in needs], *arguments_of(operations))
        return sent.addCallback(read_reply, operations)

    def _answered(
        self,
        reply: Any,
        outcome: Deferred[Charge],
        needs: Sequence[Need],
        missing: Sequence[Need],
        operations: Sequence[Operation],
    ) -> None:
        now = self._now()
        enough = self._settle(reply, [need.bucket for need in missing], operations, now)
        for need in missing:
            if enough and need.is_spent:
                need.bucket.take_held(need.tokens)
        if outcome.called:
            # The client has disconnected: its tokens are returned.
            self._give_back(needs, missing if not enough else ())
        elif enough:
            outcome.callback(self._charge(needs))
        else:
            self._give_back(needs, missing)
            refused = max(missing, key=lambda need: need.bucket.wait(need.tokens, now))
            wait = max(1.0, refused.bucket.wait(refused.tokens, now))
            refused.bucket.refused_until = now + min(wait, _RECHECK)
            self._refuse(exhausted(refused.bucket, wait)).addErrback(outcome.errback)

    def _settle(self, reply: Any, buckets: Sequence[Bucket], operations: Sequence[Operation], now: float) -> bool:
        enough: bool
        enough, engine_now, outcomes = reply
        for bucket, operation, result in zip(buckets, operations, outcomes, strict=True):
            bucket.answered(operation, result, engine_now, now, is_complete=self._shares.counts_together)
            bucket.connection = self._shares.connection
            if bucket.held:
                self._active[bucket] = None
            if self.waiting is not None:
                self.waiting.wake(bucket)
        return enough

    def _give_back(self, needs: Sequence[Need], missing: Sequence[Need]) -> None:
        """Return the tokens of a request that is not forwarded.

        @param missing: the needs for which no tokens were taken.
        """
        for need in needs:
            if need.is_spent:
                need.bucket.release(need.tokens)
                if need not in missing:
                    need.bucket.held += need.tokens
                    self._active[need.bucket] = None

    def _unanswered(
        self,
        failure: Failure,
        outcome: Deferred[Charge],
        needs: Sequence[Need],
        missing: Sequence[Need],
        operations: Sequence[Operation],
    ) -> None:
        failure.trap(*_FAILED)  # type: ignore[no-untyped-call]
        self._lost([need.bucket for need in missing], operations)
        self._give_back(needs, missing)
        if not outcome.called:
            self._take_alone(needs, self._now()).addCallbacks(outcome.callback, outcome.errback)

    def _lost(self, buckets: Sequence[Bucket], operations: Sequence[Operation]) -> None:
        self._failed += 1
        for bucket, operation in zip(buckets, operations, strict=True):
            bucket.unanswered(operation)
            if bucket.held:
                self._active[bucket] = None
            if self.waiting is not None:
                self.waiting.wake(bucket, has_failed=True)

    # -- the bytes of exchanges

    def refusal(self, buckets: Sequence[Bucket], count: int) -> BudgetExhausted | None:
        """Return why a number of bytes is not permitted; C{None}: it is."""
        if self._observes:
            return None
        now = self._now()
        weight = 0 if self._shares.counts_together else self._shares.weight
        for bucket in buckets:
            wait = bucket.wait(count, now, weight)
            if wait > 0:
                self._exhausted += 1
                return exhausted(bucket, wait)
        return None

    def left(self, buckets: Sequence[Bucket]) -> int:
        """Return the number of bytes that are permitted, as far as this process knows."""
        now = self._now()
        weight = 0 if self._shares.counts_together else self._shares.weight
        return MANY if self._observes else min([bucket.left(now, weight) for bucket in buckets], default=MANY)

    def spend(self, buckets: Sequence[Bucket], count: int) -> None:
        """Count bytes that are transferred."""
        now = self._now()
        together = self._shares.counts_together
        for bucket in buckets:
            self._spend(bucket, count, now, 0 if together else self._shares.weight)
            if together:
                self._ask(bucket)

    def refund(self, buckets: Sequence[Bucket], count: int) -> None:
        """Return counted bytes that are not transferred after all."""
        for bucket in buckets:
            bucket.refund(count, self._shares.weight)
            if bucket.held:
                self._active[bucket] = None

    def _ask(self, bucket: Bucket) -> None:
        """Take bytes in advance, if there are too few."""
        if not bucket.asked and bucket.held < bucket.chunk / 2:
            self._settle_later(bucket, bucket.operation(self._shares.connection))

    def _settle_later(self, bucket: Bucket, operation: Operation) -> Deferred[None]:
        """Change a bucket in the engine; no request waits for it."""
        sent = self._send([Need(bucket, 0, False)], [operation])
        return sent.addCallbacks(
            partial(self._settled, bucket, operation), partial(self._not_settled, bucket, operation)
        )

    def _settled(self, bucket: Bucket, operation: Operation, reply: Any) -> None:
        self._settle(reply, [bucket], [operation], self._now())

    def _not_settled(self, bucket: Bucket, operation: Operation, failure: Failure) -> None:
        failure.trap(*_FAILED)  # type: ignore[no-untyped-call]
        self._lost([bucket], [operation])

    def sweep(self) -> None:
        """Tell the engine about owed tokens, return those taken in advance and unused, and look at old states."""
        if not self._shares.is_connected:
            return
        connection = self._shares.connection
        for _ in range(min(_SWEPT, len(self._active))):
            bucket, _ = self._active.popitem(last=False)
            if bucket.held < 0:
                self._settle_later(bucket, bucket.operation(connection, ahead=False))
            elif bucket.held > 0 and not (bucket.touched or bucket.asked):
                self._settle_later(bucket, bucket.returned(connection))
            elif bucket.held > 0:
                bucket.touched = False
                self._active[bucket] = None
        self._look()

    def _look(self) -> None:
        """Look at buckets that this process has not used for some time.

        While the engine is away, the process uses its share of what they contain, as far as it knows.
        """
        if not self._aging:
            self._aging = self._table.buckets()
        now = self._now()
        for _ in range(min(_EXAMINED, len(self._aging))):
            if self._telling >= _SWEPT:
                return
            bucket = self._aging.pop()
            if bucket.is_recent(now) and bucket.is_old(now):
                self._tell(bucket)

    def tell(self) -> None:
        """Tell the engine what this process knows of all buckets, because the engine may have lost its data."""
        self._doubtful = self._table.buckets()
        self._tell_more()

    def _tell_more(self) -> None:
        if not self._shares.is_connected:
            # The next connection begins from the start.
            self._doubtful.clear()
        now = self._now()
        for _ in range(min(_EXAMINED, len(self._doubtful))):
            if self._telling >= _SWEPT:
                return
            bucket = self._doubtful.pop()
            if bucket.is_known(now):
                self._tell(bucket)
        if self._doubtful:
            self._clock.callLater(0, self._tell_more)

    def _tell(self, bucket: Bucket) -> None:
        self._telling += 1
        operation = bucket.operation(self._shares.connection, ahead=False)
        self._settle_later(bucket, operation).addBoth(self._told)

    def _told(self, result: Any) -> Any:
        self._telling -= 1
        if self._telling == _SWEPT - 1:
            self._clock.callLater(0, self._tell_more)
        return result
