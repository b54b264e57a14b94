"""Tests for L{egress.proxy.lease}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.errors import (
    AuthorizerUnavailable,
    BudgetUnavailable,
    EgressError,
    LeaseExpired,
    LeaseRevoked,
    LimitReached,
)
from egress.model.message import MessageObligation
from egress.proxy.lease import Lease, lease_for, validated_decision
from tests.proxy.fakes import LOCAL, Proxy, allow, allow_with, broken, deny
from tests.proxy.test_budget_count import EXHAUSTED, GIVEN, FakeBudgets, FakeCharge, FakeTransfer
from tests.untyped import untyped

QUESTION = DecisionRequest(
    request_id="id-1",
    stage=Stage.REQUEST,
    method="GET",
    origin=Origin("http", Authority("origin.test", 80)),
    path="/a",
    headers=(),
    client=ClientIdentity("198.51.100.7", 40000),
)
WITHHELD = attrs.evolve(QUESTION, body_withheld=True)
MESSAGE = attrs.evolve(QUESTION, stage=Stage.MESSAGE)
TUNNEL = attrs.evolve(QUESTION, stage=Stage.TUNNEL)
MORE = Decision(Verdict.NEED_BODY, "content", "script")
ADDRESSES = Decision(Verdict.NEED_ADDRESSES, "addresses", "script")
ASK = Decision(Verdict.ASK, "somebody", "script")


class ValidatedDecisionTests(SynchronousTestCase):
    """Validation of an authorizer's results."""

    def unsound(self, decision: object, question: DecisionRequest, says: str) -> None:
        error = self.assertRaises(AuthorizerUnavailable, validated_decision, decision, question)
        self.assertIn(says, error.reason)

    def test_need_body_is_valid_if_content_is_withheld(self) -> None:
        self.assertIs(validated_decision(MORE, WITHHELD), MORE)
        self.unsound(MORE, QUESTION, "not withheld")

    def test_need_addresses_is_valid_if_addresses_are_withheld(self) -> None:
        withheld = attrs.evolve(QUESTION, addresses_withheld=True)
        self.assertIs(validated_decision(ADDRESSES, withheld), ADDRESSES)
        self.unsound(ADDRESSES, QUESTION, "addresses that were not withheld")
        self.unsound(ADDRESSES, WITHHELD, "addresses that were not withheld")
        self.unsound(MORE, withheld, "content that was not withheld")

    def test_invalid_decisions(self) -> None:
        no_reason = untyped(attrs.evolve, allow(), reason=None)
        by_a_number = untyped(attrs.evolve, allow(), decided_by=1)
        for answer in (None, "allow", ASK, *no_reason, *by_a_number):
            self.unsound(answer, WITHHELD, "invalid decision")

    def test_obligations(self) -> None:
        fields = allow_with(set_headers=((b"X", b"y"),), max_bytes=1)
        self.assertIs(validated_decision(fields, QUESTION), fields)
        self.unsound(fields, TUNNEL, "in a tunnel")
        self.unsound(allow_with(remove_headers=(b"x",)), TUNNEL, "in a tunnel")
        bounds = allow_with(max_bytes=1, expires_in=1)
        self.assertIs(validated_decision(bounds, TUNNEL), bounds)
        self.unsound(allow_with(messages=MessageObligation()), TUNNEL, "in a tunnel cannot be authorized")
        self.unsound(allow_with(set_headers=((b"Host", b"y"),)), QUESTION, "cannot be set or removed")
        self.unsound(allow_with(max_bytes="1"), TUNNEL, "max_bytes")

    def test_obligations_of_a_message(self) -> None:
        again = allow_with(messages=MessageObligation())
        self.assertIs(validated_decision(again, MESSAGE), again)
        for obligations in (
            {"set_headers": ((b"X", b"y"),)},
            {"remove_headers": (b"x",)},
            {"max_bytes": 1},
            {"expires_in": 60},
            {"budgets": GIVEN},
        ):
            self.unsound(allow_with(**obligations), MESSAGE, "a message cannot have obligations")


class LeaseTests(SynchronousTestCase):
    """Limits on bytes and time."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.clock = self.proxy.clock
        self.authorizer = self.proxy.authorizer
        self.faults: list[EgressError] = []

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def lease(self, question: DecisionRequest = QUESTION, **terms: object) -> Lease:
        made = lease_for(self.proxy.parts.authz, question, Obligations(**terms), self.faults.append)  # type: ignore[arg-type]
        assert made is not None
        self.addCleanup(made.stop)
        return made

    def ended(self, kind: type[EgressError], says: str) -> None:
        (error,) = self.faults
        self.assertIs(type(error), kind)
        self.assertIn(says, error.reason)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_lease_without_limits(self) -> None:
        for terms in (Obligations(), Obligations(set_headers=((b"X", b"y"),))):
            self.assertIsNone(lease_for(self.proxy.parts.authz, QUESTION, terms, self.faults.append))

    def test_bytes(self) -> None:
        lease = self.lease(max_bytes=10)
        self.assertTrue(lease.announce(10) and lease.consume(4) and lease.consume(6) and lease.consume(0))
        self.assertEqual((lease.next_read(100), lease.used, self.faults), (1, 10, []))
        self.assertFalse(lease.consume(1))
        self.assertEqual(lease.used, 10)
        self.ended(LimitReached, "10 bytes")
        self.assertFalse(lease.consume(0) or lease.announce(0))
        self.assertEqual(len(self.faults), 1)

    def test_a_renewal_needs_addresses(self) -> None:
        """They are provided once, within the timeout of one renewal, and with each later renewal."""
        lease = self.lease(attrs.evolve(QUESTION, addresses_withheld=True), expires_in=5)
        lease.known_addresses = (LOCAL,)
        self.authorizer.answers = [ADDRESSES, allow_with(expires_in=5), allow_with(expires_in=5), ADDRESSES]
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(
            [(asked.addresses, asked.addresses_withheld) for asked in self.authorizer.asked],
            [(None, True), ((LOCAL,), False), ((LOCAL,), False)],
        )
        self.assertEqual(self.faults, [])
        self.clock.advance(5)
        self.ended(LeaseExpired, "not withheld")

    def test_a_renewal_with_addresses_times_out(self) -> None:
        lease = self.lease(attrs.evolve(QUESTION, addresses_withheld=True), expires_in=5)
        lease.known_addresses = (LOCAL,)
        first = self.authorizer.pending()
        self.authorizer.pending()
        self.clock.advance(5)
        self.clock.advance(3)
        first.callback(ADDRESSES)
        self.clock.advance(1)
        self.assertEqual(self.faults, [])
        self.clock.advance(1)
        self.ended(LeaseExpired, "did not decide within 5 s")

    def test_a_renewal_needs_addresses_before_they_are_known(self) -> None:
        self.lease(attrs.evolve(QUESTION, addresses_withheld=True), expires_in=5)
        self.authorizer.answers = [ADDRESSES]
        self.clock.advance(5)
        self.ended(LeaseExpired, "not known yet")

    def test_no_byte_limit(self) -> None:
        lease = self.lease(expires_in=5)
        self.assertTrue(lease.consume(2**40))
        self.assertEqual(lease.next_read(2**40), 2**40)
        lease.stop()

    def test_renewed(self) -> None:
        lease = self.lease(expires_in=5)
        self.authorizer.answers = [allow_with(expires_in=7), allow()]
        self.clock.advance(4.9)
        self.assertEqual(self.authorizer.asked, [])
        self.clock.advance(0.1)
        self.assertEqual(self.authorizer.asked, [QUESTION])
        self.clock.advance(6.9)
        self.assertEqual(len(self.authorizer.asked), 1)
        self.clock.advance(0.1)
        self.assertEqual((len(self.authorizer.asked), self.faults), (2, []))
        # The renewed decision has no time to live.
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(lease.consume(1))

    def test_bytes_of_all_decisions_count(self) -> None:
        lease = self.lease(expires_in=5)
        self.authorizer.answers = [allow_with(expires_in=5, max_bytes=10), allow_with(max_bytes=7)]
        lease.consume(8)
        self.clock.advance(5)
        self.assertEqual((lease.next_read(100), self.faults), (3, []))
        self.clock.advance(5)
        self.ended(LimitReached, "7 bytes")

    def test_bytes_flow_during_a_renewal(self) -> None:
        lease = self.lease(expires_in=5, max_bytes=10)
        decision = self.authorizer.pending()
        self.clock.advance(5)
        self.assertTrue(lease.consume(10))
        decision.callback(allow())
        self.assertEqual((lease.next_read(100), self.faults), (100, []))

    def test_revoked(self) -> None:
        lease = self.lease(expires_in=5)
        self.authorizer.answers = [deny("no more")]
        self.clock.advance(5)
        self.ended(LeaseRevoked, "no more")
        self.assertFalse(lease.consume(0))

    def test_only_observed(self) -> None:
        """The exchange continues, and the first decision that would have ended it is recorded."""
        lease = self.lease(expires_in=5)
        first = attrs.evolve(allow_with(expires_in=5), reason="no more", observed="deny")
        self.authorizer.answers = [allow_with(expires_in=5), first, attrs.evolve(allow(), observed="unavailable")]
        self.clock.advance(5)
        self.assertIsNone(lease.observed)
        self.clock.advance(5)
        self.assertIs(lease.observed, first)
        self.clock.advance(5)
        self.assertIs(lease.observed, first)
        self.assertEqual(self.faults, [])

    def test_no_decision(self) -> None:
        for answer, says in (
            (AuthorizerUnavailable("down"), "down"),
            (CancelledError(), "failed"),
            (lambda: None, "invalid decision"),
            (ASK, "invalid decision"),
            (allow_with(max_bytes=-1), "max_bytes"),
        ):
            with self.subTest(says):
                self.faults.clear()
                self.lease(expires_in=5)
                self.authorizer.answers = [answer]
                self.clock.advance(5)
                self.ended(LeaseExpired, says)

    def test_an_internal_error_of_the_authorizer(self) -> None:
        self.lease(expires_in=5)
        self.authorizer.answers = [RuntimeError("hidden")]
        self.clock.advance(5)
        self.ended(LeaseExpired, "failed")
        self.assertNotIn("hidden", self.faults[0].reason)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_renewal_needs_content(self) -> None:
        self.lease(WITHHELD, expires_in=5)
        self.authorizer.answers = [MORE]
        self.clock.advance(5)
        self.ended(LeaseExpired, "already forwarded")

    def test_a_renewal_times_out(self) -> None:
        self.lease(expires_in=5)
        self.authorizer.pending()
        self.clock.advance(5)
        self.clock.advance(self.proxy.parts.authz.renewal_timeout)
        self.ended(LeaseExpired, "within 5 s")
        self.assertEqual(self.authorizer.cancelled, 1)

    def test_an_authorizer_that_ignores_cancellation(self) -> None:
        lease = self.lease(expires_in=5)
        stubborn: Deferred[Decision] = Deferred(lambda deferred: deferred.callback(allow()))
        self.authorizer.answers = [stubborn]
        self.clock.advance(5)
        lease.stop()
        self.assertEqual(self.faults, [])

    def test_stopped(self) -> None:
        self.lease(expires_in=5).stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        lease = self.lease(expires_in=5)
        self.authorizer.pending()
        self.clock.advance(5)
        lease.stop()
        self.assertEqual((self.authorizer.cancelled, self.faults), (1, []))

    def test_an_internal_error_at_the_end(self) -> None:
        made = lease_for(self.proxy.parts.authz, QUESTION, Obligations(expires_in=5), broken)
        assert made is not None
        self.authorizer.answers = [deny()]
        self.clock.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ChargeTests(SynchronousTestCase):
    """The bytes of a lease are charged to budgets."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.proxy.parts.authz.budgets = self.budgets = FakeBudgets()
        self.faults: list[EgressError] = []

    def lease(self, charge: FakeCharge, **terms: Any) -> Lease | None:
        made = lease_for(self.proxy.parts.authz, QUESTION, Obligations(**terms), self.faults.append, charge)
        if made is not None:
            self.addCleanup(made.stop)
        return made

    def test_without_bytes(self) -> None:
        self.assertIsNone(self.lease(FakeCharge()))

    def test_bytes(self) -> None:
        charge = FakeCharge(10)
        lease = self.lease(charge)
        assert lease is not None
        self.assertTrue(lease.announce(0) and lease.consume(4))
        self.assertEqual((charge.most, lease.used, lease.next_read(100)), (6, 4, 7))
        self.assertFalse(lease.consume(7))
        self.assertEqual((self.faults, lease.used, charge.closed), ([EXHAUSTED], 4, 1))

    def test_small_content(self) -> None:
        """It is charged when it begins, so it is neither held nor cut; what is not transferred is returned."""
        charge = FakeCharge(10)
        lease = self.lease(charge, max_bytes=100)
        assert lease is not None
        lease.transfer = transfer = FakeTransfer()
        charge.crowded_at = 0
        self.assertTrue(lease.announce(10))
        self.assertEqual(charge.most, 0)
        charge.most = -5
        self.assertTrue(lease.consume(4) and lease.consume(3))
        self.assertEqual((charge.most, lease.used, transfer.calls), (-5, 7, []))
        lease.stop()
        self.assertEqual((charge.most, charge.closed, self.faults), (-2, 1, []))

    def test_more_than_announced(self) -> None:
        """Trailers, for example."""
        charge = FakeCharge(15)
        lease = self.lease(charge)
        assert lease is not None
        self.assertTrue(lease.announce(10) and lease.consume(8) and lease.consume(4))
        self.assertEqual((charge.most, lease.used), (3, 12))
        self.assertFalse(lease.consume(4))
        self.assertEqual((self.faults, charge.most), ([EXHAUSTED], 3))

    def test_refused_content(self) -> None:
        charge = FakeCharge(9)
        lease = self.lease(charge)
        assert lease is not None
        self.assertFalse(lease.announce(10))
        self.assertEqual((self.faults, charge.most), ([EXHAUSTED], 9))

    def test_large_content(self) -> None:
        """It is charged as it is transferred, because it can take long."""
        charge = FakeCharge(1 << 20)
        lease = self.lease(charge)
        assert lease is not None
        self.assertTrue(lease.announce((256 << 10) + 1))
        self.assertEqual(charge.most, 1 << 20)

    def test_renewal_of_small_content(self) -> None:
        """The rest is charged to the later budgets as it is transferred."""
        first, second = FakeCharge(10), FakeCharge(5)
        lease = self.lease(first, expires_in=5)
        assert lease is not None
        self.budgets.result = second
        self.proxy.authorizer.answers = [allow_with(budgets=GIVEN)]
        self.assertTrue(lease.announce(10) and lease.consume(6))
        self.proxy.clock.advance(5)
        self.assertTrue(lease.consume(4))
        self.assertEqual((first.most, second.most), (4, 1))

    def test_both_limits(self) -> None:
        lease = self.lease(FakeCharge(10), max_bytes=5)
        assert lease is not None
        self.assertEqual(lease.next_read(100), 6)
        self.assertTrue(lease.consume(1))
        other = self.lease(FakeCharge(3), max_bytes=5)
        assert other is not None
        self.assertEqual((lease.next_read(100), other.next_read(100)), (5, 4))

    def test_renewal(self) -> None:
        """A later decision has its own budgets."""
        first, second = FakeCharge(10), FakeCharge(5)
        lease = self.lease(first, expires_in=5)
        assert lease is not None
        self.budgets.result = second
        self.proxy.authorizer.answers = [allow_with(budgets=GIVEN, expires_in=5), allow_with(expires_in=5)]
        self.proxy.clock.advance(5)
        self.assertEqual((self.budgets.followed, self.budgets.taken, first.closed), ([GIVEN], [], 1))
        self.assertTrue(lease.consume(5))
        self.assertEqual((first.most, second.most), (10, 0))
        self.proxy.clock.advance(5)
        self.assertTrue(lease.consume(500))
        self.assertEqual(second.closed, 1)

    def test_wait(self) -> None:
        """A transfer is held while its bytes must be counted, and reads no more than it may at once."""
        charge = FakeCharge(100)
        lease = self.lease(charge)
        assert lease is not None
        charge.room = 3
        self.assertEqual(lease.next_read(100), 3)
        charge.crowded_at = 100
        # Nothing can be held yet.
        self.assertTrue(lease.consume(1))
        self.assertEqual((lease.next_read(100), charge.waiting), (3, []))
        lease.transfer = transfer = FakeTransfer()
        self.assertTrue(lease.consume(1))
        self.assertEqual(transfer.calls, ["hold"])
        self.assertEqual(lease.next_read(100), 0)
        charge.crowded_at = -1
        charge.waiting[0]()
        self.assertEqual((transfer.calls, lease.next_read(100)), (["hold", "hold", "release"], 3))
        # Two budgets can end a wait.
        charge.waiting[1]()
        self.assertEqual(transfer.calls, ["hold", "hold", "release"])

    def test_end_of_a_wait(self) -> None:
        """The end of the exchange ends it without a release, and a later decision with one."""
        lease = self.lease(first := FakeCharge(100), expires_in=5)
        assert lease is not None
        lease.transfer = transfer = FakeTransfer()
        first.crowded_at = 100
        self.budgets.result = second = FakeCharge(100)
        self.proxy.authorizer.answers = [allow_with(budgets=GIVEN)]
        lease.consume(1)
        self.proxy.clock.advance(5)
        self.assertEqual((transfer.calls, first.closed), (["hold", "release"], 1))
        second.crowded_at = 100
        lease.consume(1)
        lease.stop()
        self.assertEqual((transfer.calls, second.closed), (["hold", "release", "hold"], 1))
        second.waiting[0]()
        self.assertEqual(len(transfer.calls), 3)

    def test_renewal_that_cannot_be_counted(self) -> None:
        self.lease(FakeCharge(10), expires_in=5)
        self.budgets.result = BudgetUnavailable("too many")
        self.proxy.authorizer.answers = [allow_with(budgets=GIVEN)]
        self.proxy.clock.advance(5)
        (error,) = self.faults
        self.assertIs(type(error), LeaseExpired)
        self.assertIn("too many", error.reason)
