"""Tests for L{egress.authz.approvals}."""

from __future__ import annotations

import gzip
import json
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz import approvals as module
from egress.authz.approvals import Approvals
from egress.authz.grant_register import GrantRegister
from egress.model.approval import ApprovalAnswer, Grant, GrantTimes
from egress.model.decision import ClientIdentity, Decision, Obligations, Verdict
from egress.model.revocation import Revocation, RevocationKind
from egress.workers.ipc import Channel
from tests.authz.fakes import REQUEST

TERMS = Obligations(max_bytes=7)
ASK = Decision(
    Verdict.ASK, "look at this", "policy x", "r", ttl=60, stale_if_error=5, cache_key=("path",), obligations=TERMS
)
NOON = 1_700_049_600.0


class ApprovalsTestCase(SynchronousTestCase):
    """Base: an approver is configured."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.approvals = self.make()

    def make(self, timeout: float = 300, limit: int = 3, **options: Any) -> Approvals:
        return Approvals(self.clock, self.clock.seconds, timeout=timeout, limit=limit, **{"is_open": True, **options})

    def hold(self, **changes: Any) -> Deferred[Decision]:
        request = attrs.evolve(REQUEST, **changes)
        return self.approvals.enqueue(request, ASK)

    def listed(self) -> dict[str, Any]:
        return self.approvals.listed(lambda url: url)

    def the_id(self) -> str:
        (one,) = self.listed()["pending"]
        found: str = one["id"]
        return found

    def counts(self) -> dict[str, int]:
        return {outcome: number for outcome, number in self.approvals.counts().items() if number}


class RevocationTests(ApprovalsTestCase):
    """Revocations of decisions."""

    def test_grants(self) -> None:
        self.hold()
        self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60))
        for kind, value, number in (("client", "nobody", 0), ("client", REQUEST.client.address, 1), ("all", "", 0)):
            revocation = Revocation(RevocationKind(kind), value, 0.0, "alice", "rev-1")
            self.assertEqual(self.approvals.revoke_matching(revocation), number)
        self.assertNoResult(self.hold())

    def test_expired_grants(self) -> None:
        self.hold()
        self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60))
        self.clock.advance(60)
        self.assertEqual(self.approvals.revoke_matching(Revocation(RevocationKind.ALL, "", 0.0, "", "rev-1")), 0)


class AnswerTests(ApprovalsTestCase):
    """The results of a pending request."""

    def test_allowed_once(self) -> None:
        held = self.hold()
        self.assertNoResult(held)
        self.assertEqual(self.approvals.pending, 1)
        self.assertEqual(self.approvals.answer(self.the_id(), ApprovalAnswer(True, by="ann", reason="fine")), (1, None))
        decision = self.successResultOf(held)
        self.assertEqual(
            decision,
            Decision(
                Verdict.ALLOW, "allowed once by ann: fine", "an approver (ann) for policy x", "r", obligations=TERMS
            ),
        )
        self.assertEqual((self.listed(), self.approvals.pending), ({"pending": [], "grants": []}, 0))
        self.assertEqual((self.counts(), self.clock.getDelayedCalls()), ({"allowed": 1}, []))
        # The next request waits again.
        self.assertNoResult(self.hold())

    def test_denied(self) -> None:
        held = self.hold()
        self.assertEqual(self.approvals.answer(self.the_id(), ApprovalAnswer(False)), (1, None))
        decision = self.successResultOf(held)
        self.assertEqual(
            decision,
            Decision(Verdict.DENY, "denied by an approver", "an approver for policy x", "r", enforce_in_observe=True),
        )
        self.assertEqual(self.counts(), {"denied": 1})
        other = self.hold()
        self.approvals.answer(self.the_id(), ApprovalAnswer(False, reason="no", by="ann"))
        self.assertEqual(self.successResultOf(other).reason, "denied by ann: no")

    def test_time_out(self) -> None:
        held = self.hold()
        self.clock.advance(299)
        self.assertNoResult(held)
        name = self.the_id()
        self.clock.advance(1)
        decision = self.successResultOf(held)
        self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, "r"))
        self.assertEqual(decision.reason, "no approver answered within 300 s (look at this)")
        self.assertEqual(
            (decision.decided_by, decision.enforce_in_observe, decision.obligations.max_bytes),
            ("policy x", False, None),
        )
        self.assertEqual(
            (self.approvals.answer(name, ApprovalAnswer(True)), self.counts()), ((0, None), {"timed-out": 1})
        )

    def test_client_disconnects(self) -> None:
        held = self.hold()
        held.cancel()
        self.failureResultOf(held, CancelledError)
        self.assertEqual((self.listed()["pending"], self.clock.getDelayedCalls()), ([], []))
        self.assertEqual(self.counts(), {"client-disconnected": 1})

    def test_client_disconnects_during_answer_to_another(self) -> None:
        """No other request is affected."""
        first, second, third = self.hold(), self.hold(), self.hold()
        first.addCallback(lambda _: second.cancel())
        self.assertEqual(self.approvals.answer(self.the_id(), ApprovalAnswer(True)), (3, None))
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.successResultOf(third).allowed)
        self.assertEqual((self.approvals.pending, self.clock.getDelayedCalls()), (0, []))

    def test_stop_denies_pending_requests(self) -> None:
        held, other = self.hold(), self.hold(path="/other")
        self.approvals.close()
        for each in (held, other):
            self.assertIn("the proxy stopped before an approver answered", self.successResultOf(each).reason)
        late = self.successResultOf(self.hold())
        self.assertEqual((late.verdict, self.clock.getDelayedCalls()), (Verdict.DENY, []))
        self.assertIn("the proxy is stopping", late.reason)

    def test_without_approver(self) -> None:
        self.approvals = self.make(is_open=False)
        decision = self.successResultOf(self.hold())
        self.assertEqual(decision.verdict, Verdict.DENY)
        self.assertEqual(
            decision.reason,
            "an approval is required, but there is no approver: start the proxy with --admin (look at this)",
        )
        self.assertEqual(self.counts(), {"rejected": 1})

    def test_limit(self) -> None:
        for number in range(3):
            self.assertNoResult(self.hold(path=f"/{number % 2}"))
        decision = self.successResultOf(self.hold())
        self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, "r"))
        self.assertIn("the limit of 3 pending requests is reached", decision.reason)

    def test_limit_of_one_client(self) -> None:
        """One client can have three quarters of the limit; the rest is for others.  An IPv6 /64 is one client."""
        self.approvals = self.make(limit=8)
        first = [self.hold(path=f"/{number}", client=ClientIdentity(f"2001:db8::{number}", 1)) for number in range(6)]
        for waiting in first:
            self.assertNoResult(waiting)
        decision = self.successResultOf(self.hold(client=ClientIdentity("2001:db8::7", 1)))
        self.assertIn("the limit of 6 pending requests of this client is reached", decision.reason)
        others = [
            self.hold(client=ClientIdentity("192.0.2.9", 1)),
            self.hold(client=ClientIdentity("192.0.2.8", 1)),
        ]
        for waiting in others:
            self.assertNoResult(waiting)
        self.assertIn("the limit of 8", self.successResultOf(self.hold(client=ClientIdentity("192.0.2.7", 1))).reason)
        # A request that ends frees capacity for its client.
        first[0].addErrback(lambda _: None)
        first[0].cancel()
        self.assertNoResult(self.hold(client=ClientIdentity("2001:db8::7", 1)))


class PendingApprovalTests(ApprovalsTestCase):
    """Equal requests share one pending approval; different requests do not."""

    def test_equal_requests_share_an_approval(self) -> None:
        first, second = self.hold(), self.hold(request_id="2", headers=((b"X", b"y"),))
        self.clock.advance(10)
        third = self.hold()
        (one,) = self.listed()["pending"]
        self.assertEqual((one["count"], one["since"], one["until"]), (3, NOON, NOON + 310))
        self.assertEqual(
            (one["method"], one["url"], one["stage"], one["client"]), ("GET", "http://a.test/", "request", "192.0.2.1")
        )
        self.assertEqual((one["ruleId"], one["reason"], one["decidedBy"]), ("r", "look at this", "policy x"))
        # Each request has its own timeout.
        self.clock.advance(290)
        self.assertEqual(self.successResultOf(first).verdict, Verdict.DENY)
        self.assertEqual(self.successResultOf(second).verdict, Verdict.DENY)
        self.assertEqual(self.approvals.answer(one["id"], ApprovalAnswer(True)), (1, None))
        self.assertTrue(self.successResultOf(third).allowed)

    def test_different_requests_do_not_share_an_approval(self) -> None:
        """An answer allows only what the approver saw."""
        self.approvals = self.make(limit=10)
        held = [
            self.hold(),
            self.hold(path="/?q=1"),
            self.hold(method="POST"),
            self.hold(body=b"x"),
            self.hold(content_length=7),
            self.hold(client=ClientIdentity("192.0.2.1", 1, "ann")),
            self.approvals.enqueue(REQUEST, attrs.evolve(ASK, rule_id="other")),
        ]
        listed = self.listed()["pending"]
        self.assertEqual(len({one["id"] for one in listed}), len(held))
        self.approvals.answer(listed[0]["id"], ApprovalAnswer(True))
        self.successResultOf(held[0])
        for other in held[1:]:
            self.assertNoResult(other)

    def test_tokens(self) -> None:
        """An answer with a token applies to one pending approval, and not to a later one for the same request."""
        observed: list[int] = []
        self.approvals.observer = lambda: observed.append(self.approvals.pending)
        held = [self.hold(), self.hold()]
        name = self.the_id()
        token = self.approvals.tokens[name]
        self.assertEqual(self.approvals.answer(name, ApprovalAnswer(True), "other"), (0, None))
        self.assertEqual(self.approvals.answer(name, ApprovalAnswer(True), token), (2, None))
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        self.assertEqual((observed[:2], observed[-1], self.approvals.tokens), ([1, 2], 0, {}))
        later = self.hold()
        self.assertEqual(self.the_id(), name)
        self.assertEqual(self.approvals.answer(name, ApprovalAnswer(True), token), (0, None))
        self.assertNoResult(later)

    def test_ids(self) -> None:
        """Ids are equal in all processes with the same key, and unpredictable without it."""
        ids = []
        for key in (b"k" * 32, b"k" * 32, b"j" * 32, b""):
            self.approvals = self.make(key=key)
            self.hold()
            ids.append(self.the_id())
        self.assertEqual(ids[0], ids[1])
        self.assertEqual(len(set(ids)), 3)

    def test_list_is_bounded(self) -> None:
        """The list is bounded in number and length; the oldest requests come first."""
        self.approvals = self.make(limit=10)
        self.patch(module, "MAX_LISTED", 2)
        for number in range(3):
            self.hold(path=f"/{number}" + "x" * 9000)
        listed = self.listed()["pending"]
        self.assertEqual([one["url"][13:15] for one in listed], ["/0", "/1"])
        self.assertLess(len(str(listed)), 5000)

    def test_list_fits_in_one_message_between_processes(self) -> None:
        """The list fits in one frame of the channel between processes, whatever clients send.  A longer frame would end
        the worker.
        """
        self.approvals = self.make(limit=2 * module.MAX_LISTED)
        long = "\U0001f600" * 12_000
        for number in range(module.MAX_LISTED + 1):
            request = attrs.evolve(
                REQUEST, path=f"/{number}{long}", method=f"M{long}", client=ClientIdentity("192.0.2.1", 1, long)
            )
            self.approvals.enqueue(request, attrs.evolve(ASK, reason=long, rule_id=long, decided_by=long))
        self.assertLess(len(json.dumps(self.listed()["pending"])), Channel.MAX_LENGTH)

    def test_listed_members(self) -> None:
        self.hold(path="/?token=hunter2")
        listed = self.approvals.listed(lambda url: url.replace("hunter2", "REDACTED"))
        self.assertNotIn("hunter2", str(listed))

    def test_many_previews(self) -> None:
        """A long list has the previews of the first requests only."""
        self.hold(path="/1", body=b"one", content_length=3)
        self.hold(path="/2", body=b"two", content_length=3)
        first = self.listed()["pending"][0]["preview"]
        self.assertEqual(first["content"]["text"], "one")
        self.patch(module, "MAX_PREVIEWS", len(json.dumps(first)) + 1)
        self.assertEqual([one["preview"] for one in self.listed()["pending"]], [first, None])

    def test_compressed_content(self) -> None:
        self.hold(headers=((b"Content-Encoding", b"gzip"),), body=gzip.compress(b"one"), content_length=23)
        self.assertEqual(self.listed()["pending"][0]["preview"]["content"]["text"], "one")


class ChangeTests(ApprovalsTestCase):
    """A new pending approval is reported, and its end."""

    def test_changes(self) -> None:
        changes: list[tuple[str, Any]] = []
        self.approvals = self.make(changed=lambda *change: changes.append(change))
        first, second = self.hold(path="/a?token=hunter2"), self.hold(path="/a?token=hunter2")
        name = self.the_id()
        ((reported, pending),) = changes
        self.assertEqual((reported, pending["id"], pending["until"]), (name, name, NOON + 300))
        self.assertEqual(pending["url"], "http://a.test/a?token=REDACTED")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(changes), 1)
        self.approvals.answer(name, ApprovalAnswer(True))
        self.assertTrue(self.successResultOf(second).allowed)
        self.assertEqual(changes[1:], [(name, None)])
        self.hold(path="/a?token=hunter2")
        self.clock.advance(300)
        self.assertEqual([pending is None for _, pending in changes], [False, True, False, True])


class PermissionTests(ApprovalsTestCase):
    """Grants: requests that are allowed for a period of time."""

    def permit(self, seconds: float = 60, **changes: Any) -> Grant:
        held = self.hold(**changes)
        number, permission = self.approvals.answer(self.the_id(), ApprovalAnswer(True, seconds, "fine", "ann"))
        assert permission is not None
        self.assertEqual((number, permission.until), (1, self.clock.seconds() + seconds))
        self.assertTrue(self.successResultOf(held).allowed)
        return permission

    def test_until_expiry(self) -> None:
        self.permit()
        decision = self.successResultOf(self.hold(path="/?q=1"))
        self.assertEqual(
            decision,
            Decision(
                Verdict.ALLOW,
                "allowed by ann until 2023-11-15 12:01:00 UTC: fine",
                "an approver (ann) for policy x",
                "r",
                obligations=TERMS,
                source="approval",
            ),
        )
        (permission,) = self.listed()["grants"]
        self.assertEqual((permission["by"], permission["url"]), ("ann", "http://a.test/"))
        self.assertEqual(self.counts(), {"allowed": 1, "granted": 1})
        self.clock.advance(60)
        self.assertNoResult(self.hold())
        self.assertEqual(self.listed()["grants"], [])

    def test_other_request_waits(self) -> None:
        self.permit()
        self.assertNoResult(self.hold(path="/other"))
        self.assertNoResult(self.hold(client=ClientIdentity("192.0.2.2", 1)))

    def test_grant_resolves_pending_requests(self) -> None:
        held = [self.hold(path="/?q=1"), self.hold(path="/?q=2"), self.hold(path="/other")]
        number, _ = self.approvals.answer(self.listed()["pending"][0]["id"], ApprovalAnswer(True, 60))
        self.assertEqual(number, 2)
        for each in held[:2]:
            self.assertEqual(self.successResultOf(each).reason, "allowed by an approver until 2023-11-15 12:01:00 UTC")
        self.assertNoResult(held[2])

    def test_revoke(self) -> None:
        name = self.permit().grant_id
        self.assertTrue(self.approvals.revoke(name))
        self.assertFalse(self.approvals.revoke(name))
        self.assertNoResult(self.hold())

    def test_grant_of_another_process(self) -> None:
        key = b"k" * 32
        self.approvals = self.make(key=key)
        grant = self.permit()
        self.approvals = self.make(key=key)
        held = self.hold()
        self.assertEqual(self.approvals.grant(grant), 1)
        self.assertTrue(self.successResultOf(held).allowed)
        self.assertTrue(self.successResultOf(self.hold()).allowed)

    def test_times(self) -> None:
        """Several processes make the same grant, if they get its times."""
        made = []
        times = GrantTimes(NOON - 1, NOON + 59, ("v1",))
        for token in (True, False):
            self.approvals = self.make(key=b"k" * 32)
            new: list[Grant] = []
            self.approvals.on_grant = new.append
            held = [self.hold(path="/?q=1"), self.hold(path="/?q=2")]
            name = self.listed()["pending"][0]["id"]
            given = self.approvals.tokens[name] if token else None
            self.clock.advance(0.5)
            number, grant = self.approvals.answer(name, ApprovalAnswer(True, 60, "", "ann"), given, times=times)
            assert grant is not None
            self.assertEqual((number, grant.times), (2, times))
            self.assertTrue(all(self.successResultOf(each).allowed for each in held))
            self.assertEqual(self.approvals.grants, [grant])
            # The grant of an approver of another replica is not new.
            self.assertEqual(new, [] if token else [grant])
            made.append(grant)
        self.assertEqual(*made)
        self.assertEqual(self.approvals.grant_ids, {})

    def test_late_times(self) -> None:
        """An answer that arrives too late makes no grant."""
        held = self.hold()
        for created, number in ((NOON - 10.1, 0), (NOON - 9.9, 1)):
            times = GrantTimes(created, created + 60)
            self.assertEqual(self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60), times=times)[0], number)
        self.assertTrue(self.successResultOf(held).allowed)

    def test_times_of_a_revoked_grant(self) -> None:
        """A revocation between the answer and its arrival voids the grant, and allows nothing."""
        self.approvals.register = GrantRegister(shares=True)
        held = self.hold()
        (name,) = self.approvals.grant_ids.values()
        self.approvals.register.revoke(name, "v1", NOON)
        answer = ApprovalAnswer(True, 60)
        times = GrantTimes(NOON - 1, NOON + 59)
        self.assertEqual(self.approvals.answer(self.the_id(), answer, times=times), (0, None))
        self.assertNoResult(held)
        # The approver has known the revocation.
        times = attrs.evolve(times, after=("v1",))
        self.assertEqual(self.approvals.answer(self.the_id(), answer, times=times)[0], 1)

    def test_times_of_an_earlier_connection(self) -> None:
        """The requests that the approver has seen are allowed; later ones wait if the grant can be revoked."""
        for token, is_current in ((True, False), (True, True), (False, True)):
            self.approvals = self.make(key=b"k" * 32)
            register = self.approvals.register = GrantRegister(shares=True)
            register.continue_alone(NOON + 2)
            held, other = self.hold(path="/?q=1"), self.hold(path="/?q=2")
            name = self.listed()["pending"][0]["id"]
            given = self.approvals.tokens[name] if token else None
            number, grant = self.approvals.answer(
                name, ApprovalAnswer(True, 60), given, times=GrantTimes(NOON, NOON + 60), is_current=is_current
            )
            assert grant is not None
            self.assertEqual((number, register.is_in_force(grant)), (2, True) if is_current else (1, False))
            self.assertTrue(self.successResultOf(held).allowed)
            self.assertIs(other.called, is_current)

    def test_times_without_the_engine(self) -> None:
        """Without the engine, the grant of an approver of this replica is in force."""
        register = self.approvals.register = GrantRegister(shares=True)
        register.lose()
        for token in (True, False):
            self.hold()
            given = self.approvals.tokens[self.the_id()] if token else None
            times = GrantTimes(NOON, NOON + 60)
            number, grant = self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60), given, times=times)
            assert grant is not None
            self.assertEqual((number, register.is_in_force(grant)), (1, not token))

    def test_replaced_times(self) -> None:
        """If another clock is ahead, the grant is older than an earlier one, which has expired."""
        self.approvals.register = GrantRegister(shares=True)
        earlier = self.permit(1)
        self.clock.advance(1)
        held = self.hold()
        times = GrantTimes(earlier.created - 0.5, NOON + 60)
        self.assertEqual(self.approvals.answer(self.the_id(), ApprovalAnswer(True, 60), times=times)[0], 1)
        self.assertTrue(self.successResultOf(held).allowed)
        self.assertNoResult(self.hold())

    def test_number_of_grants_is_limited(self) -> None:
        """The grant that expires first is dropped: the next request waits again."""
        self.patch(module, "MAX_GRANTS", 2)
        for number in range(3):
            self.permit(60 + number, path=f"/{number}")
        self.assertEqual([one["url"][-2:] for one in self.listed()["grants"]], ["/1", "/2"])
        self.assertNoResult(self.hold(path="/0"))
