"""Tests for L{egress.workers.admin_backend}."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.admin.shared_grants import NOT_STORED
from egress.admin.stored_grants import STORED_WITHIN
from egress.model.approval import ApprovalAnswer, Grant, GrantScope, GrantTimes
from egress.model.change import Actor, Change, ChangeKind
from egress.model.explanation import ExplainRequest
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from egress.workers import admin_backend as module
from egress.workers.admin_backend import WorkerAdminBackend
from tests.admin.test_shared_approvals import EPOCH, FOR_AN_HOUR, Replica, SharedApprovalsTestCase
from tests.admin.test_stored_grants import Process
from tests.authz.fakes import REQUEST
from tests.store.grant_cases import NOW, MemoryDatabase, grant, revocation, store_of

SUBJECT = GrantScope.of(REQUEST, "r")


def permission(name: str = "p", until: float = 60) -> dict[str, Any]:
    """A grant as a worker sends it."""
    return Grant(name, SUBJECT, until, "ann", "").to_json()


def held(name: str, count: int, since: float, until: float) -> dict[str, Any]:
    """A pending approval as a worker sends it; other keys are omitted."""
    return {"id": name, "count": count, "since": since, "until": until}


class FakeSlot:
    """The slot of a worker that responds as a test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {}

    def request(self, what: str, seconds: float, argument: Any = None) -> Deferred[Any]:
        self.asked.append((what, argument))
        answer = self.answers[what]
        if isinstance(answer, Exception):
            failed: Deferred[Any] = Deferred()
            failed.errback(answer)
            return failed
        return succeed(answer)


class LocalSlot:
    """The slot of a worker in this process.

    @ivar is_stopped: whether requests wait.
    """

    def __init__(self, worker: Replica, name: str) -> None:
        self.name = name
        self.worker = worker
        self.is_stopped = False
        self.waiting: list[Callable[[], object]] = []
        backend = worker.backend
        self.handlers: dict[str, Callable[..., Any]] = {
            "pending-approvals": backend.pending_approvals,
            "resolve-approval": backend.resolve_for_parent,
            "resolve-elsewhere": backend.resolve_elsewhere_for_parent,
            "add-grant": backend.add_grant_for_parent,
            "announce-grant": backend.announce_grant_for_parent,
            "grants-in-force": backend.grants_in_force_for_parent,
        }

    def request(self, what: str, seconds: float, argument: Any = None) -> Deferred[Any]:
        response: Deferred[Any] = Deferred()
        # The channel has JSON.
        arguments = [] if argument is None else [json.loads(json.dumps(argument))]
        called = partial(maybeDeferred, self.handlers[what], *arguments)
        if self.is_stopped:
            self.waiting.append(called)
            response.errback(TimeoutError())
        else:
            called().addCallback(lambda found: json.loads(json.dumps(found))).chainDeferred(response)
        return response

    def resume(self) -> None:
        """Handle the requests that waited."""
        self.is_stopped = False
        waiting, self.waiting = self.waiting, []
        for called in waiting:
            called()


class OneGrantTests(SharedApprovalsTestCase):
    """One answer makes one grant, in all workers of all replicas: two of X, A and B."""

    def setUp(self) -> None:
        super().setUp()
        self.workers = [Replica(self.clock, self.engine, "x") for _ in range(2)]
        self.slots = [LocalSlot(each, each.node) for each in self.workers]
        self.supervisor = WorkerAdminBackend(
            lambda: self.slots,  # type: ignore[arg-type, return-value]
            lambda: self.slots,  # type: ignore[arg-type, return-value]
            lambda: EPOCH + self.clock.seconds(),
            shares=True,
        )
        for each in self.workers:
            each.backend.report(lambda *about: self.supervisor.learn(json.dumps(about)))
        self.wait(3)

    def decide(self, answer: ApprovalAnswer = FOR_AN_HOUR) -> dict[str, Any]:
        """Decide on the pending approval without a query."""
        self.wait()
        found = self.successResultOf(self.supervisor.listed())["pending"]
        name = next(each["id"] for each in found if each["url"] == "http://a.test/")
        asked = self.supervisor.answer(name, answer)
        self.wait(2)
        return self.successResultOf(asked)

    def assert_one_grant(self) -> Grant:
        """All processes have the same grant, also new ones."""
        later = Replica(self.clock, self.engine, "later")
        worker = LocalSlot(Replica(self.clock, self.engine, "x"), "3")
        self.supervisor.announce_grants(worker)  # type: ignore[arg-type]
        self.wait(3)
        replicas = [*self.workers, self.a, self.b, later, worker.worker]
        grants = [each.approvals.grants for each in replicas]
        self.assertEqual(grants, [grants[0]] * len(grants))
        self.assertEqual([each.allows() for each in replicas], [True] * len(grants))
        (grant,) = grants[0]
        self.assertEqual(self.successResultOf(self.supervisor.listed())["grants"], [grant.to_display()])
        return grant

    def test_paths(self) -> None:
        one, two = self.workers
        for holders in ([one, two], [one, one, two, self.a], [two, self.a], [self.a, self.b, self.a]):
            held = [each.hold() for each in holders]
            found = self.decide()
            self.assertEqual((found["resolved"], "unconfirmed" in found), (len(holders), False))
            self.assertTrue(all(self.successResultOf(each).allowed for each in held))
            grant = self.assert_one_grant()
            self.assertEqual(found["grant"], grant.to_display())
            revoked = self.b.backend.revoke(grant.grant_id)
            self.wait(2)
            self.assertTrue(self.successResultOf(revoked))

    def test_other_queries(self) -> None:
        """The approver gets the number of all requests that the grant allows."""
        processes = [*self.workers, self.a, self.b]
        for holder in processes:
            held = [holder.hold(), *(each.hold(path=f"/?q={number}") for each in processes for number in range(2))]
            self.assertEqual(self.decide()["resolved"], len(held))
            self.assertTrue(all(self.successResultOf(each).allowed for each in held))
            revoked = self.b.backend.revoke(self.assert_one_grant().grant_id)
            self.wait(2)
            self.assertTrue(self.successResultOf(revoked))

    def test_answers_without_a_grant(self) -> None:
        for answer, allowed in ((ApprovalAnswer(True), True), (ApprovalAnswer(False), False)):
            held = [each.hold() for each in (*self.workers, self.a, self.b)]
            self.assertEqual(self.decide(answer), {"resolved": 4, "grant": None})
            self.assertEqual([self.successResultOf(each).allowed for each in held], [allowed] * 4)

    def test_slow_worker(self) -> None:
        """A worker that does not respond in time gets the same grant.  After ten seconds, it sends it to no other."""
        for seconds, number in ((2.0, 1), (11.0, 0)):
            one, two = (each.hold() for each in self.workers)
            self.wait()
            name = self.workers[0].approvals.tokens.copy().popitem()[0]
            self.slots[1].is_stopped = True
            # It does not receive events, either.
            self.workers[1].client.pending = []
            asked = self.supervisor.answer(name, FOR_AN_HOUR)
            self.wait(seconds)
            self.assertEqual(self.successResultOf(asked)["resolved"], 1)
            self.assertTrue(self.successResultOf(one).allowed)
            self.assertNoResult(two)
            (grant,) = self.workers[0].approvals.grants
            made: list[Grant] = []
            self.workers[1].approvals.on_grant = made.append
            self.slots[1].resume()
            self.assertEqual((self.workers[1].approvals.grants, made), ([grant], [grant] * number))
            self.workers[1].client.flush()
            self.wait()
            self.assertTrue(self.successResultOf(two).allowed)
            self.assertEqual(self.assert_one_grant(), grant)
            revoked = self.b.backend.revoke(grant.grant_id)
            self.wait(2)
            self.assertTrue(self.successResultOf(revoked))


class WorkerBackendTestCase(SynchronousTestCase):
    """Base: two workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.slots = [FakeSlot("1"), FakeSlot("2")]
        self.draining: list[FakeSlot] = []
        self.backend = WorkerAdminBackend(
            lambda: self.slots,  # type: ignore[arg-type, return-value]
            lambda: [*self.slots, *self.draining],  # type: ignore[list-item]
            self.clock.seconds,
        )

    def sharing(self) -> WorkerAdminBackend:
        """Make the backend of a replica that shares approvals."""
        return WorkerAdminBackend(
            lambda: self.slots,  # type: ignore[arg-type, return-value]
            lambda: [*self.slots, *self.draining],  # type: ignore[list-item]
            self.clock.seconds,
            shares=True,
        )

    def say(self, what: str, first: Any, second: Any) -> None:
        self.slots[0].answers[what], self.slots[1].answers[what] = first, second

    def permit(self, name: str = "p", until: float = 60) -> dict[str, Any]:
        self.say("resolve-approval", {"resolved": 1, "grant": permission(name, until)}, {"resolved": 0, "grant": None})
        self.say("add-grant", 0, 2)
        return self.successResultOf(self.backend.answer("a", ApprovalAnswer(True, 60)))

    def permissions(self) -> list[str]:
        self.say("pending-approvals", [], [])
        return [one["id"] for one in self.successResultOf(self.backend.listed())["grants"]]


class WorkerAdminBackendTests(WorkerBackendTestCase):
    """Two workers behave as one."""

    def test_changes(self) -> None:
        """One worker records a change; the next one if it does not respond."""
        self.say("record-change", ValueError(), True)
        change = Change(ChangeKind.RULE_ADDED, "a rule", Actor(role="admin", place="console"))
        self.backend.record(change)
        self.assertEqual([slot.asked for slot in self.slots], [[("record-change", change.to_json())]] * 2)
        self.say("record-change", True, True)
        self.backend.record(change)
        self.assertEqual([len(slot.asked) for slot in self.slots], [2, 1])
        self.slots.clear()
        with capturedLogs() as events:
            self.backend.record(change)
        self.assertEqual([event["change"] for event in events], ["a rule"])

    def test_equal_pending_approvals_are_merged(self) -> None:
        self.say(
            "pending-approvals",
            [held("a", 1, 5, 50), held("b", 1, 1, 9)],
            [held("a", 2, 3, 40), held("c", 1, 4, 9)],
        )
        found = self.successResultOf(self.backend.listed())
        self.assertEqual(found["pending"], [held("b", 1, 1, 9), held("a", 3, 3, 50), held("c", 1, 4, 9)])

    def test_worker_that_does_not_respond(self) -> None:
        self.say("pending-approvals", ValueError(), [held("a", 1, 5, 9)])
        self.assertEqual(len(self.successResultOf(self.backend.listed())["pending"]), 1)

    def test_answer_reaches_every_worker(self) -> None:
        self.say("resolve-approval", {"resolved": 1, "grant": None}, {"resolved": 2, "grant": None})
        found = self.successResultOf(self.backend.answer("a", ApprovalAnswer(False, by="ann")))
        self.assertEqual(found, {"resolved": 3, "grant": None})
        document = {"id": "a", "answer": ApprovalAnswer(False, by="ann").to_json(), "times": None}
        told = ("resolve-approval", document)
        self.assertEqual([slot.asked for slot in self.slots], [[told], [told]])

    def test_answer_reaches_other_replicas(self) -> None:
        """One worker sends it to them, after all of them have applied it."""
        backend = self.sharing()
        self.say("resolve-approval", {"resolved": 1, "grant": None}, {"resolved": 0, "grant": None})
        self.say("add-grant", 0, 2)
        self.say("resolve-elsewhere", {"resolved": 2, "grant": permission(), "unconfirmed": ["b"]}, None)
        found = self.successResultOf(backend.answer("a", ApprovalAnswer(True, 60)))
        shown = Grant.from_json(permission()).to_display()
        self.assertEqual(found, {"resolved": 5, "grant": shown, "unconfirmed": ["b"]})
        document = {"id": "a", "answer": ApprovalAnswer(True, 60).to_json()}
        resolve, elsewhere = self.slots[0].asked[:2]
        self.assertEqual(resolve, ("resolve-approval", {**document, "times": GrantTimes(0.0, 60.0).to_json()}))
        self.assertEqual(elsewhere, ("resolve-elsewhere", {**document, "grant": None}))
        self.assertEqual([what for what, _ in self.slots[1].asked], ["resolve-approval", "add-grant"])
        self.say("resolve-elsewhere", ValueError(), None)
        found = self.successResultOf(backend.answer("a", ApprovalAnswer(True)))
        self.assertEqual(found, {"resolved": 1, "grant": None, "unconfirmed": ["other replicas"]})
        self.slots.clear()
        self.failureResultOf(backend.answer("a", ApprovalAnswer(True)), Unanswered)

    def test_other_replicas(self) -> None:
        """The supervisor follows the grants of other replicas, as its workers report them."""
        self.backend = self.sharing()
        self.say("pending-approvals", [], [])
        grant = {**permission(), "created": 3.0}

        def learn(word: str, about: Any) -> list[str]:
            self.backend.learn(json.dumps([word, about]))
            return self.permissions()

        # It lists the grants that apply in a worker.
        self.say("grants-in-force", [], ValueError())
        self.assertEqual(learn("grant-added", grant), [])
        self.say("grants-in-force", ["other"], ["p"])
        self.assertEqual(learn("grant-added", grant), ["p"])
        third = FakeSlot("3")
        third.answers["announce-grant"] = 0
        self.backend.announce_grants(third)  # type: ignore[arg-type]
        self.assertEqual([what for what, _ in third.asked], ["announce-grant"])
        revoked = {"id": "p", "revocation": "v1", "time": 4.0}
        self.assertEqual(learn("grant-revoked", revoked), [])
        # Another worker reports the same later.
        self.assertEqual(learn("grant-added", grant), [])
        again = {**grant, "created": 5.0, "after": ["v1"]}
        self.assertEqual(learn("grant-added", again), ["p"])
        self.assertEqual(learn("grant-revoked", revoked), ["p"])
        other = Revocation(RevocationKind.RULE, "other", 5.5, "alice", "v2")
        self.assertEqual(learn("decisions-revoked", other.to_json()), ["p"])
        matching = Revocation(RevocationKind.RULE, "r", 6.0, "alice", "v3")
        self.assertEqual(learn("decisions-revoked", matching.to_json()), [])
        self.assertEqual(learn("grant-added", again), [])
        self.assertEqual(learn("news", {}), [])

    def test_revoked_in_other_replicas(self) -> None:
        self.backend = self.sharing()
        self.say("revoke", False, False)
        self.say("revoke-elsewhere", {"existed": True, "unconfirmed": []}, None)
        self.assertTrue(self.successResultOf(self.backend.revoke("p")))
        self.say("revoke-elsewhere", {"existed": False, "unconfirmed": []}, None)
        self.assertFalse(self.successResultOf(self.backend.revoke("p")))
        self.say("revoke", True, False)
        self.assertTrue(self.successResultOf(self.backend.revoke("p")))
        self.say("revoke-elsewhere", {"existed": True, "unconfirmed": ["b"]}, None)
        failure = self.failureResultOf(self.backend.revoke("p"), Unanswered)
        self.assertIn("not confirmed by b", failure.getErrorMessage())
        self.say("revoke-elsewhere", ValueError(), None)
        self.failureResultOf(self.backend.revoke("p"), Unanswered)

    def test_decisions_are_revoked_in_other_replicas(self) -> None:
        """One worker asks for their confirmations."""
        self.backend = self.sharing()
        told = {"cached": 1, "grants": 1, "tunnels": 2, "requests": 3}
        self.say("revoke-decisions", told, told)
        self.say("confirm-revocation", {**RevocationCounts().to_json(), "confirmed": ["a"], "unconfirmed": ["b"]}, None)
        revocation = Revocation(RevocationKind.RULE, "r", 5.0, "alice", "rev-1")
        found = self.successResultOf(self.backend.revoke_decisions(revocation))
        self.assertEqual(found, RevocationCounts(2, 1, 4, 6, ("a",), ("b",)))
        self.say("confirm-revocation", ValueError(), None)
        self.failureResultOf(self.backend.revoke_decisions(revocation), Unanswered)

    def test_grant_reaches_every_worker(self) -> None:
        shown = Grant.from_json(permission()).to_display()
        self.assertEqual(self.permit(), {"resolved": 3, "grant": shown})
        for slot in self.slots:
            self.assertEqual(slot.asked[1:], [("add-grant", permission())])
        self.assertEqual(self.permissions(), ["p"])
        self.clock.advance(60)
        self.assertEqual(self.permissions(), [])

    def test_worker_that_starts_later_gets_grants(self) -> None:
        self.permit()
        third = FakeSlot("3")
        third.answers["add-grant"] = 0
        self.backend.announce_grants(third)  # type: ignore[arg-type]
        self.assertEqual(third.asked, [("add-grant", permission())])
        third.answers["add-grant"] = ValueError()
        with capturedLogs() as events:
            self.backend.announce_grants(third)  # type: ignore[arg-type]
        self.assertEqual(events[0]["number"], "3")
        self.clock.advance(60)
        self.backend.announce_grants(third)  # type: ignore[arg-type]
        self.assertEqual(len(third.asked), 2)

    def test_decisions_are_revoked_in_every_worker(self) -> None:
        """Also in one that drains; the grants are the same in each of them."""
        self.permit()
        self.draining = [FakeSlot("3")]
        told = {"cached": 1, "grants": 1, "tunnels": 2, "requests": 3}
        for slot in (*self.slots, *self.draining):
            slot.answers["revoke-decisions"] = told
        revocation = Revocation(RevocationKind.RULE, "r", 5.0, "alice", "rev-1")
        found = self.successResultOf(self.backend.revoke_decisions(revocation))
        self.assertEqual(found, RevocationCounts(3, 1, 6, 9))
        self.assertEqual(self.draining[0].asked, [("revoke-decisions", revocation.to_json())])
        self.assertEqual(self.permissions(), [])

    def test_other_grants_remain(self) -> None:
        self.permit()
        self.say("revoke-decisions", RevocationCounts().to_json(), RevocationCounts().to_json())
        revocation = Revocation(RevocationKind.RULE, "other", 5.0, "alice", "rev-1")
        self.assertEqual(self.successResultOf(self.backend.revoke_decisions(revocation)), RevocationCounts())
        self.assertEqual(self.permissions(), ["p"])

    def test_worker_that_does_not_revoke(self) -> None:
        """The administrator must know."""
        self.say("revoke-decisions", RevocationCounts().to_json(), ValueError())
        revocation = Revocation(RevocationKind.ALL, "", 5.0, "alice", "rev-1")
        failure = self.failureResultOf(self.backend.revoke_decisions(revocation), Unanswered)
        self.assertIn("try again", failure.getErrorMessage())

    def test_number_of_grants_is_limited(self) -> None:
        self.patch(module, "MAX_GRANTS", 2)
        for number in range(3):
            self.permit(f"p{number}", 60 + number)
        self.assertEqual(self.permissions(), ["p1", "p2"])

    def test_revoked(self) -> None:
        self.permit()
        self.say("revoke", True, True)
        self.assertTrue(self.successResultOf(self.backend.revoke("p")))
        self.assertEqual(self.permissions(), [])
        self.say("revoke", False, False)
        self.assertFalse(self.successResultOf(self.backend.revoke("p")))

    def test_revoked_except_in_one_worker(self) -> None:
        self.permit()
        self.say("revoke", True, ValueError())
        self.failureResultOf(self.backend.revoke("p"), Unanswered)
        # A worker that starts later does not get the grant.
        self.assertEqual(self.permissions(), [])

    def test_explain(self) -> None:
        question = ExplainRequest("GET", "x")
        self.say("explain", {"verdict": "allow"}, None)
        self.assertEqual(self.successResultOf(self.backend.explain(question)), {"verdict": "allow"})
        self.assertEqual(self.slots[0].asked, [("explain", question.to_json())])
        self.say("explain", ValueError(), None)
        self.failureResultOf(self.backend.explain(question), Unanswered)
        self.slots.clear()
        self.failureResultOf(self.backend.explain(question), Unanswered)


class StoredGrantsTests(WorkerBackendTestCase):
    """The supervisor keeps the grants in an audit store."""

    def setUp(self) -> None:
        super().setUp()
        self.database = MemoryDatabase()
        self.stored = Process(self.clock, self.database).stored
        # The grants of the other tests end within a minute.
        self.now = 0.0
        self.backend = WorkerAdminBackend(
            lambda: self.slots,  # type: ignore[arg-type, return-value]
            lambda: [*self.slots, *self.draining],  # type: ignore[list-item]
            lambda: self.now + self.clock.seconds(),
            stored=self.stored,
        )

    def successResultOf(self, deferred: Any) -> Any:
        """Let time pass in which a thread writes."""
        self.clock.advance(0.01)
        return super().successResultOf(deferred)

    def failureResultOf(self, deferred: Any, *expected: Any) -> Any:
        """Let time pass in which the store must respond."""
        self.clock.advance(STORED_WITHIN)
        return super().failureResultOf(deferred, *expected)

    def test_restart(self) -> None:
        """Stored grants reach every worker, unless there is a later one of the same scope."""
        self.now = NOW
        store_of(self.database).write([grant("p", NOW - 9), grant("q", NOW - 9), grant("r")], [revocation("r")], NOW)
        self.say("resolve-approval", {"resolved": 1, "grant": grant("p").to_json()}, {"resolved": 0, "grant": None})
        self.say("add-grant", 0, 0)
        self.successResultOf(self.backend.answer("a", ApprovalAnswer(True, 60)))
        for slot in self.slots:
            slot.asked.clear()
        self.backend.start()
        self.clock.advance(0.2)
        self.assertEqual([slot.asked for slot in self.slots], [[("add-grant", grant("q", NOW - 9).to_json())]] * 2)
        self.assertEqual(sorted(self.permissions()), ["p", "q"])

    def test_unstored(self) -> None:
        """A revocation is complete only when it is stored."""
        self.permit()
        self.database.is_reached = False
        self.say("revoke", True, True)
        failure = self.failureResultOf(self.backend.revoke("p"), Unanswered)
        self.assertEqual(failure.getErrorMessage(), NOT_STORED)
        self.assertEqual(self.permissions(), [])
        told = {"cached": 0, "grants": 0, "tunnels": 0, "requests": 0}
        self.say("revoke-decisions", told, told)
        everything = Revocation(RevocationKind.ALL, "", NOW, "alice", "rev-1")
        revoked = self.backend.revoke_decisions(everything)
        self.clock.advance(STORED_WITHIN)
        self.assertEqual(self.successResultOf(revoked).unconfirmed, ("the audit store",))
        checks = self.backend.checked({"ca": "ok"})
        self.assertEqual(checks.pop("ca"), "ok")
        self.assertIn("ok: 2 grants and revocations wait to be stored: ", checks.pop("grants"))
        self.database.is_reached = True
        stopped = self.backend.stop()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(store_of(self.database).read(0.0).grants, [])
        self.assertEqual(len(store_of(self.database).read(0.0).revocations), 2)


class NoStoreTests(WorkerBackendTestCase):
    """Without an audit store, there is nothing to start and to stop."""

    def test_nothing(self) -> None:
        self.backend.start()
        self.assertIsNone(self.successResultOf(self.backend.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
