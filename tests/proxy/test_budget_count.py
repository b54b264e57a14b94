"""Tests for L{egress.proxy.budget_count}; L{tests.proxy.test_lease} counts the bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from zope.interface import implementer

from egress.interfaces import IBudgets, ICharge
from egress.model.budget import Budget
from egress.model.errors import BudgetExhausted, BudgetUnavailable, EgressError
from egress.proxy.budget_count import observed, refused
from tests.authz.budgets.fleet import budget
from tests.proxy.fakes import ProxyTestCase, allow, allow_with, request, response, status_of
from tests.proxy.revoking import revoke

EXHAUSTED = BudgetExhausted("no more", rule_id="rule-1", budget="rate.requests", retry_after=7)
GIVEN = (budget(),)


@implementer(ICharge)
class FakeCharge:
    """A charge whose bytes a test limits.

    @ivar room: the number of bytes that are permitted at once.
    @ivar crowded_at: the number of remaining bytes at which exchanges must wait.
    @ivar waiting: the functions that end a wait.
    """

    def __init__(self, most: int | None = None, observed: EgressError | None = None) -> None:
        self.observed = observed
        self.counts_bytes = most is not None
        self.most = most or 0
        self.room = 1 << 62
        self.crowded_at = -1
        self.waiting: list[Callable[[], None]] = []
        self.closed = 0

    def refusal(self, count: int) -> EgressError | None:
        return None if count <= self.most else EXHAUSTED

    @property
    def left(self) -> int:
        return self.most

    def spend(self, count: int) -> None:
        self.most -= count

    def refund(self, count: int) -> None:
        self.most += count

    def wait(self, then: Callable[[], None]) -> bool:
        if self.most > self.crowded_at:
            return False
        self.waiting.append(then)
        return True

    def close(self) -> None:
        self.closed += 1


class FakeTransfer:
    """A transfer that a budget holds.

    @ivar calls: what it was told.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def hold(self) -> None:
        self.calls.append("hold")

    def release(self) -> None:
        self.calls.append("release")


@implementer(IBudgets)
class FakeBudgets:
    """Budgets whose results a test sets.

    @ivar taken: the budgets of each request.
    @ivar followed: the budgets of each later decision.
    """

    def __init__(self) -> None:
        self.result: Any = FakeCharge()
        self.taken: list[tuple[Budget, ...]] = []
        self.followed: list[tuple[Budget, ...]] = []

    def take(self, request: object, budgets: tuple[Budget, ...]) -> Deferred[Any]:
        self.taken.append(budgets)
        if isinstance(self.result, Deferred):
            return self.result
        return fail(self.result) if isinstance(self.result, Exception) else succeed(self.result)

    def follow(self, request: object, budgets: tuple[Budget, ...]) -> Any:
        self.followed.append(budgets)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class CountTests(ProxyTestCase):
    """Requests whose decision has budgets."""

    def setUp(self) -> None:
        super().setUp()
        self.budgets = FakeBudgets()
        self.proxy.parts.authz.budgets = self.budgets
        self.authorizer.answers = [allow_with(budgets=GIVEN)]

    def send(self) -> None:
        self.client.feed(request())

    def test_counted(self) -> None:
        self.send()
        self.origin.feed(response(b"answer"))
        self.assertEqual((status_of(self.client.written), self.budgets.taken), (200, [GIVEN]))

    def test_exhausted(self) -> None:
        """The record names the rule, and says that it denied the request."""
        self.budgets.result = EXHAUSTED
        self.send()
        self.assertIn(b"HTTP/1.1 429", self.client.written)
        self.assertIn(b"Retry-After: 7\r\n", self.client.written)
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome, record.rule_id), ("deny", "budget-exhausted", "rule-1"))
        self.assertEqual((record.reason, self.dialer.dialled), ("no more", []))

    def test_unavailable(self) -> None:
        self.budgets.result = BudgetUnavailable("cannot count", retry_after=1)
        self.send()
        self.assertEqual(status_of(self.client.written), 503)
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome), ("unavailable", "budget-unavailable"))
        self.assertEqual(self.dialer.dialled, [])

    def test_nothing_counts(self) -> None:
        """Then nothing is forwarded."""
        self.proxy.parts.authz.budgets = None
        self.send()
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (503, []))

    def test_observed(self) -> None:
        self.budgets.result = FakeCharge(observed=EXHAUSTED)
        self.send()
        self.origin.feed(response(b"answer"))
        (record,) = self.records
        self.assertEqual((record.verdict, record.observed, record.reason), ("allow", "deny", "no more"))

    def test_disconnected(self) -> None:
        """The client disconnects while the request is counted."""
        cancelled: list[object] = []
        self.budgets.result = Deferred(cancelled.append)
        self.send()
        self.assertEqual(self.dialer.dialled, [])
        self.client.lose()
        self.assertEqual(len(cancelled), 1)
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome), ("allow", "client-disconnected"))

    def test_revoked(self) -> None:
        """A revocation while the request is counted ends it."""
        self.budgets.result = Deferred()
        self.send()
        revoke(self.proxy)
        self.assertEqual([record.outcome for record in self.records], ["revoked"])
        self.assertEqual(self.dialer.dialled, [])

    def test_values(self) -> None:
        error = CancelledError()
        self.assertEqual(refused(allow(), error), allow())
        charge: Any = FakeCharge(observed=EXHAUSTED)
        before = observed(allow(), charge)
        self.assertIs(observed(before, charge), before)
