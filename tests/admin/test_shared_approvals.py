"""Tests for L{egress.admin.shared_approvals}."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.admin import shared_approvals as module
from egress.admin.api import Unanswered
from egress.admin.backend import LocalAdminBackend
from egress.admin.shared_approvals import (
    WITHIN,
    AnsweredElsewhere,
    SharedApprovals,
    answered,
    shared_approvals,
)
from egress.admin.shared_grants import RETURN_WITHIN
from egress.admin.shared_revocations import SharedRevocations
from egress.authz.approvals import MAX_ANSWER_AGE, Approvals
from egress.interfaces import IRevocations
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.decision import ClientIdentity, Decision, Verdict
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from egress.shared.ca_fingerprints import CaComparison, SharedViews
from egress.shared.confirmations import Confirmations
from egress.shared.events import INTERVAL, SharedEvents
from egress.shared.keys import SharedKeys
from egress.shared.members import EXPIRES
from egress.shared.redis_protocol import SharedUnavailable
from egress.shared.state import SharedState
from tests.authz.fakes import REQUEST
from tests.shared.engine import Engine, EngineClient

SECRET = bytes(32)
EPOCH = 1e9
ASK = Decision(Verdict.ASK, "look at this", "policy x", "r")
ALLOW = ApprovalAnswer(True, by="ann")
FOR_AN_HOUR = ApprovalAnswer(True, 3600, by="ann")


@implementer(IRevocations)
class Local:
    """Revokes the grants of one process."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        return succeed(RevocationCounts(grants=self._approvals.revoke_matching(revocation)))


class Replica:
    """A process with approvals."""

    def __init__(self, clock: Clock, engine: Engine, node: str, *, limit: int = 100) -> None:
        self.client = EngineClient(engine)
        client: Any = self.client

        def now() -> float:
            return EPOCH + clock.seconds()

        self.events = SharedEvents(clock, client, SharedKeys(SECRET, "events"), now, node=node)
        ca = CaComparison(clock, SharedViews(client, SharedKeys(SECRET, "ca"), now))
        self.state = SharedState(client, self.events, Confirmations(clock, self.events), ca, secret=SECRET)
        self.node = node
        key = self.state.keys("approvals").derived()
        self.approvals = Approvals(clock, now, timeout=300, limit=limit, is_open=True, key=key)
        shared = shared_approvals(clock, now, self.approvals, self.state)
        assert shared is not None
        self.shared: SharedApprovals = shared
        nothing: Any = None
        revocations = SharedRevocations(Local(self.approvals), self.state)
        self.backend = LocalAdminBackend(self.approvals, nothing, nothing, revocations, shared=shared)
        self.events.start()
        self.client.on_connected()

    def hold(self, **changes: Any) -> Deferred[Decision]:
        return self.approvals.enqueue(attrs.evolve(REQUEST, **changes), ASK)

    def allows(self, path: str = "/") -> bool:
        """Return whether a grant allows a request."""
        held = self.hold(path=path)
        if held.called:
            found: list[Decision] = []
            held.addCallback(found.append)
            return found[0].allowed
        held.addErrback(lambda _: None)
        held.cancel()
        return False


class SharedApprovalsTestCase(SynchronousTestCase):
    """Base: two replicas, A and B."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.engine = Engine(self.clock)
        self.a, self.b = Replica(self.clock, self.engine, "a"), Replica(self.clock, self.engine, "b")
        self.wait(3)

    def wait(self, seconds: float = INTERVAL + 0.1) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def pending(self, replica: Replica) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.successResultOf(replica.backend.listed())["pending"]
        return found

    def the_id(self, replica: Replica) -> str:
        (one,) = self.pending(replica)
        found: str = one["id"]
        return found

    def answer(self, replica: Replica, name: str, answer: ApprovalAnswer = ALLOW) -> Deferred[dict[str, Any]]:
        found = replica.backend.answer(name, answer)
        self.wait(WITHIN + 0.1)
        return found

    def stream(self) -> list[tuple[int, list[bytes]]]:
        (events,) = self.engine.streams.values()
        return events

    def repeat(self, kind: str) -> None:
        """Repeat all events of a type, as someone who can write to the engine."""
        ((name, events),) = self.engine.streams.items()
        for _, fields in list(events):
            if self.kind(fields) == kind:
                self.engine.execute("XADD", name, "*", *fields)

    def kind(self, fields: list[bytes]) -> str:
        """Return the type of an event."""
        (name,) = self.engine.streams
        found: str = json.loads(SharedKeys(SECRET, "events").unseal(name, fields[1]) or b'{"type": ""}')["type"]
        return found

    def take(self, kind: str) -> list[list[bytes]]:
        """Remove all events of a type, as someone who can write to the engine."""
        ((name, events),) = self.engine.streams.items()
        taken = [fields for _, fields in events if self.kind(fields) == kind]
        # The numbers continue.
        self.engine.streams[name] = [(number, [b"x", b"x"] if each in taken else each) for number, each in events]
        return taken

    def put(self, events: list[list[bytes]]) -> None:
        """Put events into the engine that were taken from it."""
        (name,) = self.engine.streams
        for fields in events:
            self.engine.execute("XADD", name, "*", *fields)

    def lists(self) -> dict[bytes, tuple[bytes, float]]:
        return {name: value for name, value in self.engine.values.items() if b":pending:" in name}


class ListTests(SharedApprovalsTestCase):
    """Each replica lists the pending approvals of all replicas."""

    def test_listed(self) -> None:
        self.a.hold(path="/x?token=hunter2", body=b"the content", content_length=11)
        self.wait()
        (one,), own = self.pending(self.b), self.pending(self.a)
        self.assertEqual((own, one["nodes"], one["count"]), ([one], ["a"], 1))
        self.assertEqual(one["url"], "http://a.test/x?token=REDACTED")
        self.assertEqual(one["preview"]["content"]["text"], "the content")
        self.assertEqual([key for key in one if key in ("holder", "token", "node")], [])
        for value in (*(fields[1] for _, fields in self.stream()), *(value for value, _ in self.lists().values())):
            self.assertNotIn(b"a.test", value)

    def test_equal_requests(self) -> None:
        """They are one entry."""
        self.a.hold()
        self.wait()
        self.b.hold()
        self.b.hold()
        self.wait()
        for replica in (self.a, self.b):
            (one,) = self.pending(replica)
            self.assertEqual((one["nodes"], one["count"]), (["a", "b"], 3))

    def test_end(self) -> None:
        held = self.a.hold()
        self.wait()
        self.assertEqual(len(self.pending(self.b)), 1)
        held.addErrback(lambda _: None)
        held.cancel()
        self.wait(0.3)
        self.assertEqual((self.pending(self.b), self.lists()), ([], {}))
        self.wait()
        self.assertFalse(self.b.events.members()[0].is_waiting)

    def test_long_wait(self) -> None:
        """The list is written again before it expires."""
        self.a.hold()
        self.wait(60)
        self.assertEqual(len(self.pending(self.b)), 1)

    def test_coalesced(self) -> None:
        """Many changes need few commands."""
        self.engine.commands.clear()
        for number in range(50):
            self.a.hold(path=f"/{number}")
            self.clock.advance(0.01)
        self.wait()
        self.assertEqual(len(self.pending(self.b)), 50)
        self.assertLess(len([each for each in self.engine.commands if each[0] == "SET"]), 6)

    def test_bounded(self) -> None:
        """The list of one process is bounded, whatever clients send: the first entries, and the first previews."""
        long = "\U0001f600" * 3000
        for number in range(40):
            client = ClientIdentity(f"192.0.2.{number}", 1, long)
            self.a.hold(path=f"/{number}{long}", client=client, body=b"x" * 8000, content_length=8000)
        self.wait()
        (value,) = (value for value, _ in self.lists().values())
        self.assertLess(len(value), module.MAX_LIST + 4096)
        found = self.pending(self.b)
        self.assertGreater(len(found), 2)
        self.assertLess(len(found), 40)

    def test_previews_are_bounded(self) -> None:
        """The list has the first previews, and all entries."""
        for number in range(40):
            self.a.hold(path=f"/{number}", body=b"x" * 8000, content_length=8000)
        self.wait()
        (value,) = (value for value, _ in self.lists().values())
        self.assertLess(len(value), module.MAX_LIST + 4096)
        previews = [one["preview"] is not None for one in self.pending(self.b)]
        self.assertEqual(len(previews), 40)
        self.assertEqual(previews, [True] * sum(previews) + [False] * (40 - sum(previews)))
        self.assertGreater(sum(previews), 5)
        self.assertLess(sum(previews), 40)

    def test_number_of_lists_is_bounded(self) -> None:
        self.patch(module, "MAX_HOLDERS", 1)
        other = Replica(self.clock, self.engine, "c")
        self.a.hold(path="/a")
        other.hold(path="/c")
        self.wait(2)
        self.assertEqual(len(self.pending(self.b)), 1)

    def test_engine_away(self) -> None:
        """Each replica lists its own; the others see them after the next connection."""
        self.a.client.fault = self.b.client.fault = "away"
        self.a.hold()
        self.wait()
        self.assertEqual((len(self.pending(self.a)), self.pending(self.b)), (1, []))
        for replica in (self.a, self.b):
            replica.client.fault = None
            replica.client.on_connected()
        self.wait(2)
        self.assertEqual(len(self.pending(self.b)), 1)

    def test_process_that_ended(self) -> None:
        self.a.hold()
        self.wait()
        self.a.client.fault = "away"
        self.wait(EXPIRES + 1)
        self.assertEqual(self.pending(self.b), [])

    def test_without_shared_state(self) -> None:
        self.assertIsNone(shared_approvals(self.clock, self.clock.seconds, self.a.approvals, None))


class AnswerTests(SharedApprovalsTestCase):
    """An answer on one replica is effective on the others."""

    def test_allowed(self) -> None:
        held = self.a.hold()
        self.wait()
        answered = self.b.backend.answer(self.the_id(self.b), ALLOW)
        self.wait(0.2)
        decision = self.successResultOf(held)
        self.assertEqual((decision.verdict, decision.reason), (Verdict.ALLOW, "allowed once by ann"))
        self.wait(0.1)
        # A list in the engine can be older than the answer.
        lists = self.lists()
        self.wait(0.1)
        self.assertEqual(self.successResultOf(answered), {"resolved": 1, "grant": None})
        self.engine.values.update(lists)
        self.assertEqual(self.pending(self.b), [])
        self.wait()
        self.assertEqual((self.pending(self.a), self.pending(self.b)), ([], []))

    def test_denied(self) -> None:
        held = self.a.hold()
        self.wait()
        answered = self.answer(self.b, self.the_id(self.b), ApprovalAnswer(False, by="ann", reason="no"))
        self.assertEqual(self.successResultOf(answered)["resolved"], 1)
        self.assertEqual(self.successResultOf(held).reason, "denied by ann: no")

    def test_everywhere(self) -> None:
        """One answer is for the equal requests of all replicas, and for no other ones."""
        held, other = [self.a.hold(), self.b.hold(), self.a.hold()], self.a.hold(path="/other")
        self.wait()
        name = next(each["id"] for each in self.pending(self.b) if each["count"] == 3)
        self.assertEqual(self.successResultOf(self.answer(self.b, name)), {"resolved": 3, "grant": None})
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        self.assertNoResult(other)

    def test_grant(self) -> None:
        """The approver gets the grant that another replica made."""
        held = self.a.hold()
        self.wait()
        answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), ApprovalAnswer(True, 60)))
        self.assertEqual((answered["resolved"], answered["grant"]["url"]), (1, "http://a.test/"))
        self.assertTrue(self.successResultOf(held).allowed)

    def test_long_grant(self) -> None:
        """A grant that does not fit into an event applies there, and the answer is confirmed."""
        held = self.a.hold(path="/" + "x" * 8000)
        self.wait()
        answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), ApprovalAnswer(True, 60)))
        self.assertEqual(answered, {"resolved": 1, "grant": None})
        self.assertTrue(self.successResultOf(held).allowed)
        self.assertEqual(len(self.a.approvals.grants), 1)

    def test_not_pending(self) -> None:
        answered = self.successResultOf(self.b.backend.answer("abc", ALLOW))
        self.assertEqual(answered, {"resolved": 0, "grant": None})

    def test_not_pending_any_more(self) -> None:
        """A list can be older than the end of its requests: they are not shown again."""
        held = self.a.hold()
        self.wait()
        name, lists = self.the_id(self.b), self.lists()
        held.addErrback(lambda _: None)
        held.cancel()
        self.assertEqual(self.successResultOf(self.answer(self.b, name, FOR_AN_HOUR)), {"resolved": 0, "grant": None})
        self.engine.values.update(lists)
        self.a.hold(path="/other")
        self.assertNotIn(name, [each["id"] for each in self.pending(self.b)])

    def test_not_confirmed(self) -> None:
        """The process that holds the requests does not respond: the approver must know."""
        held = self.a.hold()
        self.b.hold(path="/other")
        self.wait()
        name = next(each["id"] for each in self.pending(self.b) if each["nodes"] == ["a"])
        self.a.client.fault = "away"
        failure = self.failureResultOf(self.answer(self.b, name), Unanswered)
        self.assertIn("not confirmed by a", failure.getErrorMessage())
        # It is too late when the process responds again.
        self.wait(MAX_ANSWER_AGE)
        self.a.client.fault = None
        self.wait(2)
        self.assertNoResult(held)

    def test_one_is_not_confirmed(self) -> None:
        here, there = self.b.hold(), self.a.hold()
        self.wait()
        name = self.the_id(self.b)
        self.a.client.fault = "away"
        answered = self.successResultOf(self.answer(self.b, name))
        self.assertEqual(answered, {"resolved": 1, "grant": None, "unconfirmed": ["a"]})
        self.assertTrue(self.successResultOf(here).allowed)
        self.assertNoResult(there)

    def test_unread_list(self) -> None:
        """If a list cannot be read, the approver must know that its requests can still wait."""
        here, there = self.b.hold(), self.a.hold()
        self.wait()
        name, call = self.the_id(self.b), self.b.client.call
        reads: Any = lambda *command: fail(SharedUnavailable("slow")) if command[0] == "GETRANGE" else call(*command)  # noqa: E731
        self.patch(self.b.client, "call", reads)
        answered = self.successResultOf(self.answer(self.b, name))
        self.assertEqual(answered, {"resolved": 1, "grant": None, "unconfirmed": ["a"]})
        self.assertTrue(self.successResultOf(here).allowed)
        self.assertNoResult(there)
        failure = self.failureResultOf(self.answer(self.b, name), Unanswered)
        self.assertIn("not confirmed by a", failure.getErrorMessage())

    def test_just_begun_to_wait(self) -> None:
        """Another worker of the approver's replica has listed a request whose event is not read here yet."""
        self.wait(INTERVAL)
        held = self.a.hold()
        self.clock.advance(0.01)
        self.assertEqual(self.pending(self.b), [])
        (name,) = self.a.approvals.tokens
        self.assertEqual(self.successResultOf(self.answer(self.b, name))["resolved"], 1)
        self.assertTrue(self.successResultOf(held).allowed)

    def test_engine_away(self) -> None:
        """An answer of a local approver needs no engine."""
        self.a.client.fault = "away"
        held = self.a.hold()
        self.wait()
        self.assertEqual(self.successResultOf(self.a.backend.answer(self.the_id(self.a), ALLOW))["resolved"], 1)
        self.assertTrue(self.successResultOf(held).allowed)

    def test_for_supervisor(self) -> None:
        """A worker lists the entries with their processes, and sends answers to the other replicas only."""
        here, there = self.b.hold(), self.a.hold()
        self.wait()
        listed: Any = self.b.backend.pending_approvals()
        entries = self.successResultOf(listed)
        self.assertEqual({each["holder"] for each in entries}, {each.events.member_id for each in (self.a, self.b)})
        request = {"id": entries[0]["id"], "answer": ALLOW.to_json(), "grant": None}
        answered = self.b.backend.resolve_elsewhere_for_parent(request)
        self.wait(1)
        result = AnsweredElsewhere.from_json(json.loads(json.dumps(self.successResultOf(answered))))
        self.assertEqual(result, AnsweredElsewhere(1, None, []))
        self.assertTrue(self.successResultOf(there).allowed)
        self.assertNoResult(here)

    def test_serialized(self) -> None:
        self.a.hold()
        _, grant = self.a.approvals.answer(self.the_id(self.a), ApprovalAnswer(True, 60))
        assert isinstance(grant, Grant)
        elsewhere = AnsweredElsewhere(2, grant, ["a"])
        self.assertEqual(AnsweredElsewhere.from_json(elsewhere.to_json()), elsewhere)
        self.assertEqual(answered(2, grant, []), {"resolved": 2, "grant": grant.to_display()})


class OneGrantTests(SharedApprovalsTestCase):
    """One answer makes one grant, in whichever processes its requests wait."""

    def assert_one_grant(self, *replicas: Replica) -> Grant:
        """Each replica has the same grant, and so has one that starts later."""
        later = Replica(self.clock, self.engine, "later")
        self.wait(2)
        grants = [each.approvals.grants for each in (*replicas, later)]
        self.assertEqual(grants, [grants[0]] * len(grants))
        (grant,) = grants[0]
        self.assertEqual([each.allows() for each in (*replicas, later)], [True] * len(grants))
        return grant

    def id_of(self, replica: Replica, count: int) -> str:
        """Return the id of the pending approval with a number of requests."""
        (found,) = (each["id"] for each in self.pending(replica) if each["count"] == count)
        return str(found)

    def test_here_and_elsewhere(self) -> None:
        held = [self.a.hold(), self.b.hold(), self.b.hold()]
        self.wait()
        before = EPOCH + self.clock.seconds()
        answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR))
        self.assertEqual(answered["resolved"], 3)
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        grant = self.assert_one_grant(self.a, self.b)
        self.assertEqual((grant.created, grant.until, grant.by), (before, before + 3600, "ann"))
        self.assertEqual(answered["grant"], grant.to_display())

    def test_elsewhere(self) -> None:
        """The requests wait on two replicas, and the approver uses a third one."""
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        held = [self.a.hold(), third.hold(), third.hold()]
        self.wait()
        answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR))
        self.assertEqual(answered["resolved"], 3)
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        grant = self.assert_one_grant(self.a, self.b, third)
        self.assertEqual(answered["grant"], grant.to_display())

    def test_other_queries(self) -> None:
        """The grant allows requests of the same scope, too; the approver gets the number of all of them."""
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        for here in (self.a, self.b):
            # On the replica with the approver, on one with the requests that the approver sees, and on another one.
            held = [here.hold(), *(each.hold(path="/?q=1") for each in (self.a, self.b, third))]
            held += [third.hold(path="/?q=2"), third.hold(path="/?q=2")]
            other = third.hold(path="/other")
            self.wait()
            name = next(each["id"] for each in self.pending(self.b) if each["url"] == "http://a.test/")
            answered = self.successResultOf(self.answer(self.b, name, FOR_AN_HOUR))
            self.assertEqual((answered["resolved"], "unconfirmed" in answered), (6, False))
            self.assertTrue(all(self.successResultOf(each).allowed for each in held))
            self.assertNoResult(other)
            grant = self.assert_one_grant(self.a, self.b, third)
            self.successResultOf(self.revoke(self.b, grant.grant_id))
            other.addErrback(lambda _: None)
            other.cancel()

    def revoke(self, replica: Replica, grant_id: str) -> Deferred[bool]:
        found = replica.backend.revoke(grant_id)
        self.wait(2)
        return found

    def test_only_other_queries_wait_elsewhere(self) -> None:
        """The list has requests that do not wait any more: no grant is made, and others go on waiting."""
        self.a.hold()
        self.wait()
        name, lists = self.the_id(self.b), self.lists()
        self.assertEqual(self.a.approvals.answer(name, ApprovalAnswer(False))[0], 1)
        third = Replica(self.clock, self.engine, "c")
        held = third.hold(path="/?q=1")
        self.wait(3)
        self.engine.values.update(lists)
        self.assertEqual(len(self.pending(self.b)), 1)
        # The first one tells that requests wait there.
        self.a.hold(path="/other")
        self.wait()
        self.engine.values.update(lists)
        self.assertEqual(len(self.pending(self.b)), 2)
        answered = self.successResultOf(self.answer(self.b, name, FOR_AN_HOUR))
        self.assertEqual(answered, {"resolved": 0, "grant": None})
        self.assertNoResult(held)
        self.assertEqual([each.approvals.grants for each in (self.a, self.b, third)], [[], [], []])

    def test_new_replicas(self) -> None:
        """Replicas that have just started do not know each other's requests for grants."""
        for starts, holders, wait in product(("abc", "bca", "cab"), ("a", "c", "ac", "abc"), (0.2, 0.7)):
            self.engine = Engine(self.clock)
            replicas = {}
            for name in starts:
                replicas[name] = Replica(self.clock, self.engine, name)
                self.wait(wait)
            held = [replicas[each].hold() for each in holders]
            for _ in range(40):
                if [each["count"] for each in self.pending(replicas["b"])] == [len(holders)]:
                    break
                self.clock.advance(0.05)
            answered = self.successResultOf(self.answer(replicas["b"], self.the_id(replicas["b"]), FOR_AN_HOUR))
            self.assertEqual(answered["resolved"], len(holders))
            self.assertTrue(all(self.successResultOf(each).allowed for each in held))
            self.wait(2)
            self.assert_one_grant(*replicas.values())
            for each in replicas.values():
                each.events.stop()

    def test_new_replica_without_requests(self) -> None:
        """A replica that starts while the others make a grant uses it, too."""
        for seconds in (0.0, 0.05, 0.3, 0.7):
            self.engine = Engine(self.clock)
            one, two = Replica(self.clock, self.engine, "a"), Replica(self.clock, self.engine, "b")
            self.wait(5)
            one.hold()
            self.wait()
            third = Replica(self.clock, self.engine, "c")
            self.wait(seconds)
            self.assertEqual(self.successResultOf(self.answer(two, self.the_id(two), FOR_AN_HOUR))["resolved"], 1)
            self.wait(3)
            self.assert_one_grant(one, two, third)

    def test_not_confirmed(self) -> None:
        """A replica that does not respond in time makes the same grant afterwards."""
        here, there = self.b.hold(), self.a.hold()
        self.wait()
        asked = self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR)
        taken = self.take("grant") + self.take("answer")
        self.wait(WITHIN + 0.1)
        answered = self.successResultOf(asked)
        self.assertEqual((answered["resolved"], answered["unconfirmed"]), (1, ["a"]))
        self.assertTrue(self.successResultOf(here).allowed)
        self.assertNoResult(there)
        self.put(taken)
        self.wait()
        self.assertTrue(self.successResultOf(there).allowed)
        self.assert_one_grant(self.a, self.b)

    def test_late_answer(self) -> None:
        """After ten seconds, the answer has no effect; the event of the grant has one."""
        held = self.a.hold()
        self.wait()
        asked = self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR)
        taken = self.take("answer")
        self.wait(MAX_ANSWER_AGE + 1)
        self.failureResultOf(asked, Unanswered)
        self.put(taken)
        self.wait(2)
        self.assertNoResult(held)
        self.assertEqual([each.approvals.grants for each in (self.a, self.b)], [[], []])

    def test_hidden_grant(self) -> None:
        """The answer alone makes the same grant, and tells others about it."""
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        here, there = self.b.hold(), self.a.hold()
        self.wait()
        asked = self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR)
        self.take("grant")
        self.wait(WITHIN + 0.1)
        self.assertEqual(self.successResultOf(asked)["resolved"], 2)
        self.assertTrue(self.successResultOf(here).allowed and self.successResultOf(there).allowed)
        self.assert_one_grant(self.a, self.b, third)

    def test_long_path(self) -> None:
        """A grant that does not fit into an event is the same where the requests wait."""
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        path = "/" + "x" * 8000
        held = [self.a.hold(path=path), third.hold(path=path)]
        self.wait()
        answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR))
        self.assertEqual(answered, {"resolved": 2, "grant": None})
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        self.assertEqual(self.a.approvals.grants, third.approvals.grants)
        self.assertEqual((len(self.a.approvals.grants), self.b.approvals.grants), (1, []))

    def test_revoked_before_the_answer_arrives(self) -> None:
        """The revocation wins: nothing is allowed, and no process has the grant."""
        for everything in (False, True):
            held = self.a.hold()
            self.wait()
            grant_id = self.a.approvals.grant_ids[self.the_id(self.b)]
            asked = self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR)
            taken = self.take("answer")
            if everything:
                revocation = Revocation(RevocationKind.ALL, "", EPOCH + self.clock.seconds(), "alice", "rev-1")
                self.successResultOf(self.confirmed(self.b.backend.revoke_decisions(revocation)))
            else:
                self.successResultOf(self.confirmed(self.b.backend.revoke(grant_id)))
            self.put(taken)
            self.wait(2)
            self.assertEqual(self.successResultOf(asked), {"resolved": 0, "grant": None})
            self.assertNoResult(held)
            self.assertEqual([each.approvals.grants for each in (self.a, self.b)], [[], []])
            # A new answer has an effect at once.
            answered = self.successResultOf(self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR))
            self.assertEqual(answered["resolved"], 1)
            self.assertTrue(self.successResultOf(held).allowed)
            grant = self.assert_one_grant(self.a, self.b)
            self.successResultOf(self.revoke(self.a, grant.grant_id))

    def confirmed(self, found: Deferred[Any]) -> Deferred[Any]:
        self.wait(1)
        return found

    def test_two_approvers(self) -> None:
        """Two answers are two grants; the later one is in force everywhere."""
        held = self.a.hold()
        self.wait()
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        name = self.the_id(self.b)
        first = self.b.backend.answer(name, FOR_AN_HOUR)
        self.clock.advance(0.01)
        second = third.backend.answer(name, ApprovalAnswer(True, 60, by="joe"))
        self.wait(WITHIN + 0.1)
        self.assertEqual(self.successResultOf(first)["resolved"], 1)
        self.assertEqual(self.successResultOf(second), {"resolved": 0, "grant": None})
        self.assertIn("ann", self.successResultOf(held).reason)
        self.assertEqual(self.assert_one_grant(self.a, self.b, third).by, "ann")

    def test_reconnected(self) -> None:
        """An answer for requests from before a connection allows them; its grant is not in force without the others."""
        held = self.a.hold()
        self.wait()
        asked = self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR)
        taken = self.take("answer")
        self.b.client.lose()
        self.a.client.lose()
        self.wait(1)
        self.a.client.connect()
        self.wait(RETURN_WITHIN + 0.5)
        self.failureResultOf(asked, Unanswered)
        self.put(taken)
        self.wait()
        self.assertTrue(self.successResultOf(held).allowed)
        self.assertFalse(self.a.allows())


class AttackerTests(SharedApprovalsTestCase):
    """Someone who can write to the engine can hide and repeat what replicas have written.  That allows nothing."""

    def test_repeated_answer(self) -> None:
        """An answer is for one pending approval, not for a later one of the same request."""
        self.a.hold()
        self.wait()
        name = self.the_id(self.b)
        self.answer(self.b, name)
        again = self.a.hold()
        self.wait()
        self.assertEqual(self.the_id(self.a), name)
        self.repeat("answer")
        self.wait(2)
        self.assertNoResult(again)

    def test_repeated_grant_answer(self) -> None:
        """Nor does an answer that has made a grant, after its revocation."""
        third = Replica(self.clock, self.engine, "c")
        self.wait(3)
        held = [self.a.hold(), third.hold()]
        self.wait()
        self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR)
        self.assertTrue(all(self.successResultOf(each).allowed for each in held))
        (grant,) = self.a.approvals.grants
        revoked = self.b.backend.revoke(grant.grant_id)
        self.wait(1)
        self.assertTrue(self.successResultOf(revoked))
        again = [self.a.hold(), third.hold()]
        self.wait()
        for kind in ("answer", "grant", "confirmed"):
            self.repeat(kind)
        self.wait(2)
        for each in again:
            self.assertNoResult(each)
        self.assertEqual([each.approvals.grants for each in (self.a, self.b, third)], [[], [], []])

    def test_delayed_answer(self) -> None:
        """Someone delays an answer, and hides the revocation from its receiver.  A later replica has no grant."""
        self.a.hold()
        self.wait()
        grant_id = self.a.approvals.grant_ids[self.the_id(self.b)]
        self.b.backend.answer(self.the_id(self.b), FOR_AN_HOUR).addErrback(lambda _: None)
        taken = self.take("answer")
        self.clock.advance(1)
        revoked = self.b.backend.revoke(grant_id)
        self.take("grant-revoked")
        self.wait(2)
        # The administrator knows that it is not confirmed.
        self.failureResultOf(revoked, Unanswered)
        later = Replica(self.clock, self.engine, "later")
        self.wait(0.7)
        self.put(taken)
        self.wait(5)
        self.assertEqual(len(self.a.approvals.grants), 1)
        self.assertFalse(self.b.allows() or later.allows())

    def test_restarted_replica(self) -> None:
        """Nor is it for a replica that starts later."""
        self.a.hold()
        self.wait()
        self.answer(self.b, self.the_id(self.b))
        later = Replica(self.clock, self.engine, "a")
        held = later.hold()
        self.repeat("answer")
        self.wait(2)
        self.assertNoResult(held)

    def test_earlier_list(self) -> None:
        """An earlier list in place of the present one shows what is not pending: an answer for it has no effect."""
        self.a.hold()
        self.wait()
        name, lists = self.the_id(self.b), self.lists()
        self.answer(self.b, name)
        again = self.a.hold()
        self.wait()
        self.engine.values.update(lists)
        failure = self.successResultOf(self.answer(self.b, name))
        self.assertEqual(failure, {"resolved": 0, "grant": None})
        self.assertNoResult(again)

    def test_list_of_another_process(self) -> None:
        """A list is valid in its place only, and only if a holder of the key has written it recently."""
        self.a.hold()
        self.wait()
        ((name, (value, until)),) = self.lists().items()
        self.b.hold(path="/b")
        self.wait()
        (other,) = (each for each in self.lists() if each != name)
        for forged in (self.lists()[other][0], b"{}", value[:-1], b"x" * 1_000_000):
            self.engine.values[name] = forged, until
            before = self.b.events.rejected
            self.assertEqual([each["nodes"] for each in self.pending(self.b)], [["b"]])
            self.assertEqual(self.b.events.rejected, before + 1)

    def test_old_list(self) -> None:
        self.a.hold()
        self.wait()
        ((name, (value, _)),) = self.lists().items()
        self.wait(20)
        self.engine.values[name] = value, 1e9
        self.assertEqual(self.pending(self.b), [])

    def test_another_version(self) -> None:
        """A list that cannot be understood is left out."""
        self.a.hold()
        self.wait()
        (name,) = self.lists()
        sealed = self.a.state.keys("approvals").seal(name, b'{"new": 1}')
        self.engine.values[name] = sealed, 1e9
        self.assertEqual(self.pending(self.b), [])

    def test_forged_answer(self) -> None:
        """Only a holder of the key can answer."""
        held = self.a.hold()
        self.wait()
        ((stream, _),) = self.engine.streams.items()
        name = self.the_id(self.a)
        targets = {self.a.events.member_id: self.a.approvals.tokens[name]}
        event = {
            "type": "answer",
            "time": EPOCH + self.clock.seconds(),
            "from": "x",
            "node": "x",
            "waiting": False,
            "nonce": "n",
            "id": name,
            "answer": ALLOW.to_json(),
            "targets": targets,
            "others": [],
        }
        content = json.dumps(event).encode()
        for value in (content, SharedKeys(b"x" * 32, "events").seal(stream, content)):
            self.engine.execute("XADD", stream, "*", b"e", value)
        self.wait(2)
        self.assertNoResult(held)
        # The same event from a holder of the key.
        self.engine.execute("XADD", stream, "*", b"e", SharedKeys(SECRET, "events").seal(stream, content))
        self.wait()
        self.assertTrue(self.successResultOf(held).allowed)
