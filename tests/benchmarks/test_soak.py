"""Tests for L{benchmarks.soak}: the soak test detects every kind of fault."""

from __future__ import annotations

import threading
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak import attackers
from benchmarks.soak.client_threads import ClientThreads
from benchmarks.soak.fairness import ENOUGH, Fairness, Probe, Window, waited
from benchmarks.soak.faults import ATTACKERS, AUTHORIZER, ORIGINS, schedule
from benchmarks.soak.journal import id_in
from benchmarks.soak.judge import Asked, Question, Record, Sample, Seen, Verdict, judge, trend

MIB = 1 << 20


class JudgeTests(SynchronousTestCase):
    """One good request of each kind, in which then one thing is changed."""

    def setUp(self) -> None:
        self.asked = [
            Asked("a", "get", "GET", True, "complete"),
            Asked("d", "denied", "GET", True, "problem", "403 denied"),
            Asked("u", "upload", "POST", True, "problem", "503 authorizer-unavailable"),
            Asked("l", "leaver", "GET", False, "left"),
            Asked("t", "tunnel", "CONNECT", True, "closed"),
        ]
        self.questions = [
            Question(1.0, "qa", "a", "allow"),
            Question(1.0, "qd", "d", "deny"),
            Question(1.0, "qu", "u", "none"),
            Question(1.0, "qt", "t", "allow"),
        ]
        self.seen = [Seen(2.0, "a", "GET"), Seen(2.0, "t", "GET"), Seen(3.0, "t", "GET")]
        self.records = [
            Record("qa", "a", "allow", "forwarded"),
            Record("qd", "d", "deny", "denied"),
            Record("qu", "u", "unavailable", "authorizer-unavailable"),
            Record("qt", "t", "allow", "forwarded"),
        ]

    def judged(self, *samples: Sample) -> Verdict:
        """Judge the samples."""
        return judge(self.asked, self.questions, self.seen, self.records, samples)

    def assert_found(self, *words: str) -> None:
        """Check that there is a failure, and that each of these words is in some failure."""
        failures = "\n".join(self.judged().failures)
        for word in words:
            self.assertIn(word, failures)

    def test_all_well(self) -> None:
        """Nothing is found in a good run, and everything is counted."""
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertTrue(verdict.passed)
        self.assertEqual(verdict.counts["outcomes"], {"complete": 1, "problem": 2, "left": 1, "closed": 1})
        self.assertEqual(verdict.counts["origins"], {"requests seen": 3, "different": 2})

    def test_no_authorization_request(self) -> None:
        """A request was forwarded without an authorization request."""
        del self.questions[0]
        self.assert_found("a: an origin received it without an allow")

    def test_denied_and_forwarded(self) -> None:
        self.seen.append(Seen(2.0, "d", "GET"))
        self.assert_found("d: an origin received it without an allow")

    def test_undecided_and_forwarded(self) -> None:
        """A response that is not a decision is not an allow."""
        self.seen.append(Seen(2.0, "u", "POST"))
        self.assert_found("u: an origin received it without an allow")

    def test_too_early(self) -> None:
        """A request was forwarded before its authorization request."""
        self.seen[0] = Seen(0.5, "a", "GET")
        self.assert_found("a: an origin received it before an allow")

    def test_allow_of_another_request(self) -> None:
        """The record has the decision of another request."""
        self.records[0] = Record("qx", "a", "allow", "forwarded")
        self.assert_found("a: an origin received it, and its audit records are", "the audit record has allow")

    def test_seen_and_recorded_as_denied(self) -> None:
        self.records[0] = Record("qa", "a", "rejected", "client-disconnected")
        self.assert_found("a: an origin received it, and its audit records are")

    def test_sent_twice(self) -> None:
        """A GET may be repeated, a POST must not be."""
        self.seen.append(Seen(2.5, "a", "GET"))
        self.assertTrue(self.judged().passed)
        self.seen[0] = self.seen[-1] = Seen(2.5, "a", "POST")
        self.assert_found("a: an origin received a POST 2 times")

    def test_no_response(self) -> None:
        """No data, a closed connection without a response, and the response to another request."""
        for outcome in ("silence", "closed", "wrong", "refused", "a new word"):
            self.asked[0] = Asked("a", "get", "GET", True, outcome)
            self.assert_found(f"a: get GET ended with {outcome}")

    def test_silent_tunnel(self) -> None:
        """An origin may abort its tunnel; a tunnel must not be idle indefinitely."""
        self.asked[-1] = Asked("t", "tunnel", "CONNECT", True, "silence")
        self.assert_found("t: tunnel CONNECT ended with silence")

    def test_response_without_a_request(self) -> None:
        del self.seen[0]
        self.assert_found("a: the client got a response of an origin that did not receive the request")

    def test_nothing_done(self) -> None:
        """A proxy that rejects everything does not pass."""
        self.asked[0] = Asked("a", "get", "GET", True, "problem", "503 overloaded")
        self.assert_found("no client got a response of an origin")

    def test_no_record(self) -> None:
        """Every request that was sent has a record; a client that disconnects within a head need not have one."""
        del self.records[2]
        self.assert_found("u: upload POST, problem (503 authorizer-unavailable), has 0 audit records")

    def test_two_records(self) -> None:
        self.records.append(self.records[1])
        self.assert_found("d: denied GET, problem (403 denied), has 2 audit records")

    def test_record_without_a_request(self) -> None:
        self.records.append(Record("qz", "z", "rejected", "bad-request"))
        self.assert_found("z: an audit record of a request that no client sent")

    def test_tunnel_without_a_request(self) -> None:
        """The tunnel has a record that belongs to no request."""
        self.records.append(Record("qz", "", "rejected", "tunnel-without-request"))
        self.assertEqual(self.judged().failures, [])
        self.records[-1] = Record("qz", "", "rejected", "bad-request")
        self.assert_found("qz: an audit record of a request that no client sent")

    def test_invented_decision(self) -> None:
        """A request is recorded as allowed or denied, without such a decision of the authorization service."""
        self.records[2] = Record("qu", "u", "deny", "denied")
        self.assert_found("u: the audit record has deny; the authorization service decided none")


class GrowthTests(SynchronousTestCase):
    """Growth of memory and descriptors during a run."""

    def failures(self, rss: float = 0.0, descriptors: float = 0.0, count: int = 600) -> list[str]:
        """Judge a run in which they grow by this much from beginning to end."""
        samples = [
            Sample(float(at), int(100 * MIB + rss * at / count), 100 + int(descriptors * at / count))
            for at in range(count)
        ]
        return judge([], [], [], [], samples).failures

    def test_flat(self) -> None:
        self.assertEqual(self.failures(), [])
        self.assertEqual(self.failures(rss=5 * MIB, descriptors=30), [])

    def test_memory(self) -> None:
        self.assertEqual(len(self.failures(rss=30 * MIB)), 1)
        self.assertIn("memory grows", self.failures(rss=30 * MIB)[0])

    def test_descriptors(self) -> None:
        self.assertIn("descriptors grow", self.failures(descriptors=100)[0])

    def test_too_short(self) -> None:
        """A run of seconds is too short to measure growth."""
        self.assertEqual(self.failures(rss=300 * MIB, count=30), [])

    def test_trend(self) -> None:
        """The warm-up is excluded; the slope is per minute."""
        found = trend([(float(at), 1000.0 if at < 10 else float(at)) for at in range(100)])
        self.assertEqual((found.start, found.end, found.most), (20.5, 88.5, 1000.0))
        self.assertAlmostEqual(found.per_minute, 60.0)


class FairnessTests(SynchronousTestCase):
    """The waiting time of a well-behaved client during an attack."""

    def setUp(self) -> None:
        # Two minutes: a fault of the authorization service, an attack, and time without faults around each.
        self.windows = [Window(5.0, 7.0), Window(60.0, 100.0, attackers.PIPELINING)]

    def probes(self, began: float, took: float, count: int = ENOUGH, outcome: str = "complete") -> list[Probe]:
        return [Probe(f"p{number}", began + number * 0.04, took, outcome) for number in range(count)]

    def failures(self, *probes: Probe) -> list[str]:
        return list(Fairness(probes, self.windows).failures())

    def test_fair(self) -> None:
        fairness = Fairness([*self.probes(10.0, 0.010), *self.probes(61.0, 0.030)], self.windows)
        self.assertEqual(list(fairness.failures()), [])
        self.assertEqual((fairness.peace.requests, fairness.peace.p99), (ENOUGH, 0.010))
        self.assertEqual({kind: found.p99 for kind, found in fairness.attacks.items()}, {attackers.PIPELINING: 0.030})

    def test_unfair(self) -> None:
        """One request in a hundred may wait, two may not."""
        peace, attack = self.probes(10.0, 0.010), self.probes(61.0, 0.020)
        slow = self.probes(90.0, 0.5, ENOUGH // 100)
        self.assertEqual(self.failures(*peace, *attack, *slow), [])
        slow = self.probes(90.0, 0.5, ENOUGH // 50)
        (failure,) = self.failures(*peace, *attack, *slow)
        self.assertIn("pipelining: the p99 of the measuring client is 500.0 ms, and without faults 10.0 ms", failure)

    def test_starved(self) -> None:
        """A missing response or a rejection is worse than a slow response."""
        for outcome in ("problem", "silence", "closed", "cut", "wrong"):
            (failure,) = self.failures(Probe("p1", 70.0, 0.01, outcome, "429 too-many"))
            self.assertIn(f"p1: during an attack (pipelining), the measuring client has {outcome}", failure)

    def test_earlier_fault(self) -> None:
        """A rejection may be a consequence of an earlier fault of another kind."""
        self.windows.insert(1, Window(40.0, 50.0))
        self.assertEqual(self.failures(Probe("p1", 70.0, 0.01, "problem", "503 authorizer-unavailable")), [])

    def test_only_during_an_attack(self) -> None:
        """Requests during another fault, or right after it, are not measured."""
        probes = [*self.probes(5.5, 3.0, 10), *self.probes(7.5, 3.0, 5), *self.probes(100.5, 3.0, 5)]
        self.assertEqual(Fairness(probes, self.windows).peace.requests, 0)
        self.assertEqual(Fairness(self.probes(1.0, 0.01, 3), self.windows).peace.requests, 3)

    def test_too_few(self) -> None:
        self.assertEqual(self.failures(*self.probes(10.0, 0.010), *self.probes(61.0, 1.0, 20)), [])
        self.assertEqual(self.failures(*self.probes(10.0, 0.010, 20), *self.probes(61.0, 1.0)), [])

    def test_waited(self) -> None:
        self.assertEqual(waited([]).p99, 0.0)
        self.assertEqual(waited([1.0]).p99, 1.0)
        self.assertEqual(waited([float(number) for number in range(100, 0, -1)]).p99, 99.0)


class ScheduleTests(SynchronousTestCase):
    """The schedule of faults."""

    def test_same_seed(self) -> None:
        self.assertEqual(schedule(3, 600), schedule(3, 600))
        self.assertNotEqual(schedule(3, 600), schedule(4, 600))

    def test_one_after_the_other(self) -> None:
        """Each fault is repaired before the next one, and half an hour covers all targets."""
        faults = schedule(1, 1800)
        for one, after in pairwise(faults):
            self.assertGreater(after.at, one.at + one.lasts)
        self.assertEqual({one.target for one in faults}, {ATTACKERS, AUTHORIZER, *ORIGINS})
        self.assertEqual({one.kind for one in faults if one.target == ATTACKERS}, set(attackers.MOODS))
        self.assertGreaterEqual(len({(one.target, one.kind) for one in faults}), 20)


class JournalTests(SynchronousTestCase):
    """Requests are identified in the journal."""

    def test_id(self) -> None:
        self.assertEqual(id_in("https://127.0.0.2:1/r/c17-3?size=5"), "c17-3")
        self.assertEqual(id_in("http://127.0.0.1:1/denied/c1-0"), "c1-0")
        self.assertEqual(id_in("https://127.0.0.3:1"), "")


class ClientThreadsTests(SynchronousTestCase):
    """Threads of clients."""

    def test_end(self) -> None:
        """They end when they are told to, and an error of one is a defect."""
        threads = ClientThreads(5.0)
        self.patch(threading, "excepthook", lambda about: None)

        def fail(why: str) -> None:
            raise ValueError(why)

        threads.add(threads.over.wait)
        threads.add(fail, "it is wrong")
        threads.start()
        threads.stop()
        self.assertEqual(threads.defects, ["a client failed: ValueError('it is wrong')"])

    def test_without_an_end(self) -> None:
        threads, over = ClientThreads(0.01), threading.Event()
        threads.add(over.wait)
        threads.start()
        threads.stop()
        over.set()
        self.assertEqual(threads.defects, ["a client does not finish"])
