"""Tests for L{tests.fleet.judge}: every violation is found, and what is permitted is not a violation."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.joined import RECONNECTED_WITHIN, RECOVERED_WITHIN, Verdict
from tests.fleet.judge import judge
from tests.fleet.observations import (
    AUTHORIZER,
    POSTGRESQL,
    REDIS,
    Approval,
    Fault,
    Held,
    Question,
    Record,
    Revocation,
    Run,
    Seen,
    Sent,
)
from tests.fleet.questions import questions_of_one, repeated

TOPIC = "questions about reusable decisions in"
SHARED = f"{TOPIC} the time in which all decisions are shared"
HOST = "127.0.0.3"
KEPT, ONCE, DENIED, TUNNEL = "127.64.0.1", "127.64.0.2", "127.64.0.3", "127.64.0.4"


class JudgeTestCase(SynchronousTestCase):
    """One good request of each kind, and a tunnel, on the replica C{one}; C{two} has another request."""

    def setUp(self) -> None:
        self.sent = [
            Sent("k", KEPT, "GET", "/kept/1", 100.0, 100.1, "complete"),
            Sent("o", ONCE, "POST", "/once/1", 100.0, 100.1, "complete"),
            Sent("d", DENIED, "GET", "/denied/1", 100.0, 100.1, "problem", "403 denied"),
            Sent("k2", "127.64.0.5", "GET", "/kept/1", 105.0, 105.1, "complete"),
        ]
        self.held = [Held("h-1", "holder-0", TUNNEL, 100.0, 100.1, 120.0, False)]
        self.seen = [
            Seen(100.05, "k", "GET", "/kept/1"),
            Seen(100.05, "o", "POST", "/once/1"),
            Seen(100.05, "h-1", "CONNECT", "/"),
            Seen(105.05, "k2", "GET", "/kept/1"),
        ]
        self.questions = [
            Question(100.01, "qk", "k", "GET", "/kept/1", True),
            Question(100.01, "qo", "o", "POST", "/once/1", True),
            Question(100.01, "qd", "d", "GET", "/denied/1", False),
            Question(100.01, "qh", TUNNEL, "CONNECT", "/", True),
        ]
        self.records = [
            Record("one", "qk", "k", KEPT, "request", "allow", "completed"),
            Record("one", "qo", "o", ONCE, "request", "allow", "completed"),
            Record("one", "qd", "d", DENIED, "request", "deny", "denied"),
            Record("one", "qh", "", TUNNEL, "tunnel", "allow", "completed"),
            Record("two", "qk2", "k2", "127.64.0.5", "request", "allow", "completed"),
        ]
        self.stored = [replace(record, replica="") for record in self.records]
        self.sessions = {**dict.fromkeys((KEPT, ONCE, DENIED, TUNNEL), "one"), "127.64.0.5": "two"}
        self.faults: list[Fault] = []
        self.revocations: list[Revocation] = []
        self.approvals: list[Approval] = []
        self.ttl = 10.0

    def judged(self) -> Verdict:
        """Judge the observations."""
        run = Run(
            ttl=self.ttl,
            tunnel_host=HOST,
            replicas=["one", "two"],
            sent=self.sent,
            held=self.held,
            seen=self.seen,
            questions=self.questions,
            records=self.records,
            stored=self.stored,
            sessions=self.sessions,
            faults=self.faults,
            revocations=self.revocations,
            approvals=self.approvals,
        )
        return judge(run)

    def assert_passes(self) -> Verdict:
        """Check that there is no violation."""
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertTrue(verdict.passed)
        return verdict

    def assert_found(self, *words: str) -> None:
        """Check that there are violations with each of these words."""
        verdict = self.judged()
        self.assertFalse(verdict.passed)
        for word in words:
            self.assertIn(word, "\n".join(verdict.failures))

    def forget(self, request: str) -> None:
        """Remove the records of a request."""
        self.records = [record for record in self.records if record.request != request]
        self.stored = [record for record in self.stored if record.request != request]


class ForwardedTests(JudgeTestCase):
    """No request is forwarded without an allow."""

    def test_good(self) -> None:
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts["forwarded"], {"requests": 3, "tunnels": 1})
        self.assertEqual(verdict.counts["records"], {"in audit logs": 5, "in the store": 5})
        self.assertEqual(verdict.counts["complete responses"], {"one": 2, "two": 1})

    def test_without_question(self) -> None:
        for number, name in ((0, "k"), (1, "o"), (3, "h-1")):
            with self.subTest(name):
                kept = self.questions.pop(number)
                self.assert_found(f"{name}: the origin received")
                self.questions.insert(number, kept)

    def test_denied(self) -> None:
        self.seen.append(Seen(100.05, "d", "GET", "/denied/1"))
        self.assert_found("d: the origin received", "without an allow", "d: the origin received it, and its records")

    def test_too_early(self) -> None:
        self.questions[0] = replace(self.questions[0], at=100.06)
        self.assert_found("k: the origin received", "without an allow")

    def test_allow_of_another_request(self) -> None:
        """A decision that is not cached is for one request."""
        self.questions[1] = replace(self.questions[1], id="x")
        self.assert_found("o: the origin received")

    def test_old_decision(self) -> None:
        self.ttl = 4.5
        self.assert_found("k2: the origin received", "after its last allow was void")

    def test_revoked_decision(self) -> None:
        """A revocation applies everywhere after a second."""
        self.revocations = [Revocation("one", "all", "", 103.0, 103.1)]
        self.held[0] = replace(self.held[0], is_cut=True, ended=103.6)
        self.assert_found("k2: the origin received", "after its last allow was void")
        self.questions.append(Question(103.2, "qk2", "k2", "GET", "/kept/1", True))
        self.assert_passes()

    def test_revoked_just_before(self) -> None:
        """Less than a second after a revocation, another replica may not know it; its own replica does."""
        self.revocations = [Revocation("one", "all", "", 104.5, 104.6)]
        self.held[0] = replace(self.held[0], is_cut=True, ended=104.7)
        self.assert_passes()

    def test_revoked_without_redis(self) -> None:
        """Other replicas learn of it with the next connection."""
        self.revocations = [Revocation("one", "client", "someone", 103.0, 103.1)]
        self.faults = [Fault(REDIS, 102.0, 102.0, 104.0)]
        self.assert_passes()
        self.sessions["127.64.0.5"] = "one"
        self.assertIn("after its last allow was void", "\n".join(self.judged().failures))

    def test_revocation_of_another_host(self) -> None:
        self.revocations = [Revocation("one", "host", HOST, 103.0, 103.1)]
        self.held[0] = replace(self.held[0], is_cut=True, ended=103.6)
        self.assert_passes()

    def test_twice(self) -> None:
        self.seen.append(replace(self.seen[1], at=100.06))
        self.assert_found("o: the origin received a POST 2 times")

    def test_idempotent_twice(self) -> None:
        """A proxy may repeat a GET."""
        self.seen.append(replace(self.seen[0], at=100.06))
        self.assert_passes()

    def test_unknown(self) -> None:
        self.seen.append(Seen(100.0, "x", "GET", "/kept/1"))
        self.assert_found("x: the origin received a request that no client sent")

    def test_response_without_request(self) -> None:
        del self.seen[0]
        self.assert_found("k: its client got a response of an origin that did not receive it")


class RecordTests(JudgeTestCase):
    """No record is lost, and none is stored twice."""

    def test_lost(self) -> None:
        for request, name in (("qk", "k"), ("qh", "h-1")):
            with self.subTest(name):
                self.forget(request)
                self.assert_found(f"{name}: the origin received it, and its records are []", f"{name}: ", "no record")

    def test_lost_denial(self) -> None:
        self.forget("qd")
        self.assert_found("d: problem (403 denied), and it has no record")

    def test_in_flight_on_a_killed_replica(self) -> None:
        self.forget("qk")
        self.sent[0] = replace(self.sent[0], outcome="closed", detail="end")
        self.faults = [Fault("one", 100.05, 100.05, 102.0)]
        self.held[0] = replace(self.held[0], is_cut=True, ended=100.06)
        verdict = self.assert_passes()
        self.assertEqual(
            verdict.counts["in flight on a killed replica"],
            {"forwarded, without a record": 1, "requests": 1, "tunnels": 1},
        )

    def test_twice(self) -> None:
        self.records.append(replace(self.records[0], request="qx"))
        self.records.append(replace(self.records[3], request="qy"))
        self.assert_found("k: it has 2 records", "h-1: the tunnel has 2 records")

    def test_unknown(self) -> None:
        self.records.append(Record("one", "qx", "x", "127.64.1.1", "request", "allow", "completed"))
        self.assert_found("x: a record of a request that no client sent")

    def test_client(self) -> None:
        """The record names the client, not HAProxy."""
        self.records[0] = replace(self.records[0], client="127.0.0.1")
        self.assert_found("k: its client is 127.64.0.1, and that of its record 127.0.0.1")

    def test_verdict(self) -> None:
        self.records[2] = replace(self.records[2], verdict="allow")
        self.assert_found("d: problem (403 denied), and its record is")

    def test_not_stored(self) -> None:
        del self.stored[0]
        self.assert_found("qk: the store has lost")

    def test_stored_twice(self) -> None:
        self.stored.append(self.stored[0])
        self.assert_found("qk: the store has its record 2 times")

    def test_only_stored(self) -> None:
        self.stored.append(replace(self.stored[0], request="qx"))
        self.assert_found("qx: the store has a record that no audit log has")

    def test_in_memory(self) -> None:
        """A record may be in the memory of a replica for half a second, or longer without a server."""
        del self.stored[0], self.stored[2]
        self.held[0] = replace(self.held[0], is_cut=True, ended=100.5)
        self.faults = [Fault("one", 100.5, 100.5, 102.0)]
        verdict = self.assert_passes()
        topic = "not in the store, because a killed replica had them in memory"
        self.assertEqual(verdict.counts["records"][topic], 2)
        self.held[0] = replace(self.held[0], ended=103.0)
        self.faults = [Fault("one", 103.0, 103.0, 104.0)]
        self.assert_found("qk: the store has lost")
        self.faults.append(Fault(POSTGRESQL, 101.0, 101.0, 102.0))
        self.assert_passes()

    def test_memory_after_a_start(self) -> None:
        """Records do not wait for a writer process that starts."""
        del self.stored[0]
        self.held[0] = replace(self.held[0], is_cut=True, ended=101.5)
        self.faults = [Fault("one", 101.5, 101.5, 103.0)]
        self.assert_found("qk: the store has lost")
        self.sent.append(replace(self.sent[0], id="first", address="127.64.0.9", sent=80.0, ended=80.1))
        self.assert_found("qk: the store has lost")

    def test_memory_of_another_replica(self) -> None:
        del self.stored[0]
        self.faults = [Fault("two", 100.3, 100.3, 102.0)]
        self.assert_found("qk: the store has lost")


class ClientTests(JudgeTestCase):
    """Only requests in flight on a killed replica fail, or without an authorizer, or because they were revoked."""

    def fail(self, outcome: str, detail: str = "") -> None:  # type: ignore[override]
        """Let a request fail that was not forwarded."""
        self.sent[0] = replace(self.sent[0], outcome=outcome, detail=detail)
        del self.seen[0]
        self.records[0] = replace(self.records[0], verdict="unavailable")

    def test_closed(self) -> None:
        for outcome in ("closed", "cut", "silence", "wrong"):
            with self.subTest(outcome):
                self.setUp()
                self.fail(outcome)
                self.assert_found(f"k: {outcome} () on one, and nothing explains it")
                self.faults = [Fault("two", 100.05, 100.05, 102.0)]
                self.assert_found(f"k: {outcome} () on one, and nothing explains it")

    def test_unavailable(self) -> None:
        self.fail("problem", "503 authorizer-unavailable")
        self.assert_found("nothing explains it")
        self.faults = [Fault(AUTHORIZER, 90.0, 90.0, 99.0 - RECOVERED_WITHIN)]
        self.assert_found("nothing explains it")
        self.faults = [Fault(AUTHORIZER, 90.0, 90.0, 95.0)]
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts["denied, because the authorization service was killed"], {"requests": 1})

    def test_another_problem(self) -> None:
        self.fail("problem", "502 origin-unreachable")
        self.faults = [Fault(AUTHORIZER, 99.0, 99.0, 101.0)]
        self.assert_found("nothing explains it")

    def test_denied_path(self) -> None:
        """A denial is the only response on such a path."""
        self.sent[2] = replace(self.sent[2], detail="404 x")
        self.assert_found("d: problem (404 x) on one, and nothing explains it")

    def test_revoked(self) -> None:
        self.fail("problem", "403 revoked")
        self.assert_found("nothing explains it")
        self.revocations = [Revocation("one", "host", HOST, 100.05, 100.06)]
        self.held[0] = replace(self.held[0], is_cut=True, ended=100.5)
        self.assert_found("nothing explains it")
        self.revocations = [Revocation("one", "all", "", 100.05, 100.06)]
        self.questions.append(Question(102.0, "qk2", "k2", "GET", "/kept/1", True))
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts["revoked"], {"requests": 1, "tunnels on its own replica": 1})

    def test_nothing_complete(self) -> None:
        self.sent = [replace(one, outcome="closed") for one in self.sent]
        self.assert_found("no client got a response of the origin", "two has forwarded no request")


class TunnelTests(JudgeTestCase):
    """A revoked tunnel ends within a second; other tunnels remain."""

    def cut(self, at: float) -> None:
        """Let the tunnel end."""
        self.held[0] = replace(self.held[0], is_cut=True, ended=at)

    def test_cut(self) -> None:
        self.cut(110.0)
        self.assert_found("h-1: nothing explains the end of its tunnel on one")

    def test_revoked_in_time(self) -> None:
        self.revocations = [Revocation("two", "client", "holder-0", 110.0, 110.1)]
        self.cut(110.6)
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts["revoked"], {"tunnels on another replica": 1})
        self.assertEqual(verdict.figures["longest time to cut a revoked tunnel on another replica, in seconds"], 0.6)
        self.assertEqual(verdict.figures["longest time to cut a revoked tunnel on its own replica, in seconds"], 0.0)

    def test_revoked_late(self) -> None:
        for kind, value in (("client", "holder-0"), ("host", HOST), ("all", "")):
            with self.subTest(kind):
                self.revocations = [Revocation("two", kind, value, 110.0, 110.1)]
                self.cut(111.2)
                self.assert_found("1.20 s after", "its tunnel on one was open")

    def test_not_revoked(self) -> None:
        """The client itself ends a tunnel that was revoked before."""
        self.revocations = [Revocation("two", "host", HOST, 110.0, 110.1)]
        self.assert_found("10.00 s after", "its tunnel on one was open")

    def test_revocation_of_another_client(self) -> None:
        self.revocations = [Revocation("two", "client", "holder-1", 110.0, 110.1)]
        self.cut(110.6)
        self.assert_found("nothing explains the end of its tunnel")

    def test_without_redis(self) -> None:
        """Its own replica cuts it in time, and others with the next connection."""
        self.faults = [Fault(REDIS, 105.0, 105.0, 115.0)]
        self.revocations = [Revocation("two", "client", "holder-0", 110.0, 110.1)]
        self.cut(115.0 + RECONNECTED_WITHIN)
        verdict = self.assert_passes()
        self.assertEqual(verdict.figures["longest time to cut a revoked tunnel on another replica, in seconds"], 0.0)
        self.cut(115.1 + RECONNECTED_WITHIN)
        self.assert_found("its tunnel on one was open")
        self.cut(116.0)
        self.sessions[TUNNEL] = "two"
        self.assert_found("its tunnel on two was open")

    def test_lost_revocation(self) -> None:
        """A replica that is killed without Redis takes its revocations with it."""
        self.faults = [Fault(REDIS, 105.0, 105.0, 115.0), Fault("two", 112.0, 112.0, 113.0)]
        self.revocations = [Revocation("two", "client", "holder-0", 110.0, 110.1)]
        verdict = self.assert_passes()
        self.assertEqual(
            verdict.counts["revocations"], {"client": 1, "lost with their replica, while Redis was away": 1}
        )

    def test_replica_killed(self) -> None:
        self.faults = [Fault("one", 110.0, 110.0, 112.0)]
        self.cut(110.1)
        self.assert_passes()

    def test_refused_without_authorizer(self) -> None:
        self.held.append(Held("h-2", "holder-0", "127.64.0.9", 130.0, None, 130.1, True, "503"))
        self.records.append(Record("two", "qh2", "", "127.64.0.9", "tunnel", "unavailable", "authorizer-unavailable"))
        self.stored.append(self.records[-1])
        self.assert_found("h-2: nothing explains the end")
        self.faults = [Fault(AUTHORIZER, 120.0, 120.0, 125.0)]
        self.assert_passes()

    def test_opened_after_a_revocation(self) -> None:
        """A tunnel that was asked for before a revocation and opened after it may remain, or be cut."""
        self.revocations = [Revocation("two", "client", "holder-0", 100.05, 100.06)]
        self.questions.append(Question(102.0, "qk2", "k2", "GET", "/kept/1", True))
        self.assert_passes()
        self.cut(100.9)
        self.assert_passes()

    def test_earlier_revocation(self) -> None:
        self.revocations = [Revocation("two", "client", "holder-0", 90.0, 90.1)]
        self.cut(100.9)
        self.assert_found("nothing explains the end")


class ApprovalTests(JudgeTestCase):
    """An approval on one replica is effective on all of them within a second."""

    def allow(self, number: int, seconds: float, *, late: int = 0) -> None:
        """Add requests on C{two} that were allowed on C{one}."""
        self.sessions["127.64.0.7"] = "two"
        for each in range(number):
            id_ = f"a{each}"
            at = 130.0 + each
            ended = at + (5.0 if each < late else seconds)
            self.sent.append(Sent(id_, "127.64.0.7", "GET", "/asked/1", at - 1, ended, "complete"))
            self.seen.append(Seen(at + 0.01, id_, "GET", "/asked/1"))
            self.questions.append(Question(at - 0.9, f"q{id_}", id_, "GET", "/asked/1", False))
            self.records.append(Record("two", f"q{id_}", id_, "127.64.0.7", "request", "allow", "completed"))
            self.stored.append(self.records[-1])
            self.approvals.append(Approval(id_, "one", at))

    def test_unconfirmed(self) -> None:
        """An approver's answer can have an effect although it was not confirmed, and its time is not measured."""
        self.allow(10, 0.4)
        self.approvals[0] = replace(self.approvals[0], is_confirmed=False)
        self.assertEqual(self.assert_passes().counts["approvals"], {"on another replica": 9})
        del self.approvals[0]
        self.assert_found("a0: the origin received")

    def test_in_time(self) -> None:
        self.allow(10, 0.4)
        self.approvals.append(Approval("k", "one", 100.0))
        self.approvals.append(Approval("d", "one", 100.0))
        self.approvals.append(Approval("a0", "two", 130.0))
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts["approvals"], {"on another replica": 10, "on the replica of the request": 1})
        name = "p99 of the time until an approval on another replica was effective, in seconds"
        self.assertEqual(verdict.figures[name], 0.4)

    def test_late(self) -> None:
        self.allow(200, 0.4, late=2)
        self.assert_passes()
        self.setUp()
        self.allow(200, 0.4, late=3)
        self.assert_found("the p99 until an approval on another replica was effective is 5.00 s")
        self.faults = [Fault(REDIS, 129.0, 129.0, 132.0)]
        self.assert_passes()

    def test_few(self) -> None:
        self.allow(9, 5.0)
        self.assertEqual(self.assert_passes().figures.get("approvals"), None)

    def test_without_approval(self) -> None:
        self.allow(1, 0.4)
        del self.approvals[0]
        self.assert_found("a0: the origin received", "without an allow")

    def test_before_the_approval(self) -> None:
        self.allow(1, 0.4)
        self.approvals[0] = replace(self.approvals[0], at=130.02)
        self.assert_found("a0: the origin received", "without an allow")


class QuestionTests(JudgeTestCase):
    """The replicas together ask hardly more than one of them."""

    def test_one_replica(self) -> None:
        sent = [
            Sent(str(at), KEPT, "GET", path, at, at, outcome)
            for path, at, outcome in (
                ("/kept/1", 100.0, "complete"),
                ("/kept/1", 109.0, "complete"),
                ("/kept/2", 105.0, "complete"),
                ("/kept/1", 110.0, "complete"),
                ("/kept/3", 110.0, "problem"),
                ("/once/1", 110.0, "complete"),
            )
        ]
        asked = questions_of_one(reversed(sent), [], 10.0)
        self.assertEqual(asked, [100.0, 105.0, 110.0])
        revocations = [Revocation("one", "all", "", 107.9, 108.0), Revocation("one", "host", HOST, 111.0, 112.0)]
        asked = questions_of_one(sent, revocations, 10.0)
        self.assertEqual(asked, [100.0, 105.0, 109.0])

    def test_repeated(self) -> None:
        questions = [
            Question(at, str(at), str(at), "GET", path, True)
            for path, at in (
                ("/kept/1", 100.0),
                ("/kept/1", 109.0),
                ("/kept/2", 105.0),
                ("/kept/1", 109.9),
                ("/kept/1", 112.0),
            )
        ]
        self.assertEqual([one.at for one in repeated(reversed(questions), [], 10.0)], [109.0, 112.0])
        revocations = [Revocation("one", "all", "", 107.9, 108.0), Revocation("one", "host", HOST, 111.0, 112.0)]
        self.assertEqual([one.at for one in repeated(questions, revocations, 10.0)], [109.9, 112.0])

    def ask(self, number: int, more: int, at: float = 200.0) -> None:
        """Add requests on different paths, and some questions more."""
        for each in range(number):
            id_ = f"m{at:.0f}-{each}"
            path = f"/kept/{id_}"
            self.sent.append(Sent(id_, KEPT, "GET", path, at, at + 0.2, "complete"))
            self.seen.append(Seen(at + 0.1, id_, "GET", path))
            self.records.append(Record("one", f"q{id_}", id_, KEPT, "request", "allow", "completed"))
            self.stored.append(self.records[-1])
            self.questions += [Question(at + 0.05, f"q{id_}", id_, "GET", path, True)] * (2 if each < more else 1)

    def test_ratio(self) -> None:
        self.ask(100, 10)
        verdict = self.assert_passes()
        self.assertEqual(verdict.figures[f"{TOPIC} the whole run, relative to one replica"], 1.099)
        self.assertEqual(verdict.figures[f"{SHARED}, relative to one replica"], 1.099)
        self.ask(100, 30, 300.0)
        self.assert_found("the time in which all decisions are shared: 241 questions, and one replica asks 201: 1.20")

    def test_cannot_share(self) -> None:
        """Each replica asks without Redis, after its start, and just after a revocation."""
        self.ask(100, 5)
        self.ask(100, 100, 300.0)
        for faults, revocations in (
            ([Fault(REDIS, 280.0, 280.0, 300.0 - RECONNECTED_WITHIN - self.ttl + 1)], []),
            ([Fault("one", 298.0, 298.0, 299.0)], []),
            ([], [Revocation("one", "host", "another", 289.0, 289.1)]),
        ):
            with self.subTest(faults=faults, revocations=revocations):
                self.faults, self.revocations = faults, revocations
                verdict = self.assert_passes()
                self.assertEqual(verdict.counts[SHARED], {"of all replicas": 106, "of one replica": 101})
                self.assertEqual(verdict.counts[f"{TOPIC} the whole run"]["of all replicas"], 306)

    def test_few(self) -> None:
        self.ask(15, 15)
        verdict = self.assert_passes()
        self.assertEqual(verdict.counts[SHARED], {"of all replicas": 31, "of one replica": 16})
        self.assertNotIn(f"{SHARED}, relative to one replica", verdict.figures)
