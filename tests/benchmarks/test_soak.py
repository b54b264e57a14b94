"""Tests for L{benchmarks.soak}: a soak that finds nothing has looked."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak import attackers
from benchmarks.soak.fairness import ENOUGH, Fairness, Probe, Window, waited
from benchmarks.soak.faults import ATTACKERS, AUTHORIZER, ORIGINS, schedule
from benchmarks.soak.journal import id_in
from benchmarks.soak.judge import Asked, Question, Record, Sample, Seen, Verdict, judge, trend

MIB = 1 << 20


class JudgeTests(SynchronousTestCase):
    """One request of each kind that went well; then one thing is changed."""

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
        """Judge what there is."""
        return judge(self.asked, self.questions, self.seen, self.records, samples)

    def assert_found(self, *words: str) -> None:
        """Each of these words is in one failure or another, and there is at least one."""
        failures = "\n".join(self.judged().failures)
        for word in words:
            self.assertIn(word, failures)

    def test_all_well(self) -> None:
        """Nothing is found where nothing is wrong, and everything is counted."""
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertTrue(verdict.passed)
        self.assertEqual(verdict.counts["outcomes"], {"complete": 1, "problem": 2, "left": 1, "closed": 1})
        self.assertEqual(verdict.counts["origins"], {"requests seen": 3, "different": 2})

    def test_no_question(self) -> None:
        """Forwarded, and nobody was asked."""
        del self.questions[0]
        self.assert_found("a: an origin received it without an allow")

    def test_denied_and_forwarded(self) -> None:
        self.seen.append(Seen(2.0, "d", "GET"))
        self.assert_found("d: an origin received it without an allow")

    def test_undecided_and_forwarded(self) -> None:
        """An answer that is no decision is no allow."""
        self.seen.append(Seen(2.0, "u", "POST"))
        self.assert_found("u: an origin received it without an allow")

    def test_too_early(self) -> None:
        """Forwarded first, and asked then."""
        self.seen[0] = Seen(0.5, "a", "GET")
        self.assert_found("a: an origin received it before an allow")

    def test_leave_of_another_question(self) -> None:
        """The record says that something else was decided on."""
        self.records[0] = Record("qx", "a", "allow", "forwarded")
        self.assert_found("a: an origin received it, and its audit records are", "the audit record has allow")

    def test_seen_and_on_record_as_denied(self) -> None:
        self.records[0] = Record("qa", "a", "refused", "client-gone")
        self.assert_found("a: an origin received it, and its audit records are")

    def test_sent_twice(self) -> None:
        """A GET may be, a POST must not."""
        self.seen.append(Seen(2.5, "a", "GET"))
        self.assertTrue(self.judged().passed)
        self.seen[0] = self.seen[-1] = Seen(2.5, "a", "POST")
        self.assert_found("a: an origin received a POST 2 times")

    def test_no_answer(self) -> None:
        """Silence, an end without an answer, and an answer that is another's."""
        for outcome in ("silence", "closed", "wrong", "refused", "a new word"):
            self.asked[0] = Asked("a", "get", "GET", True, outcome)
            self.assert_found(f"a: get GET ended with {outcome}")

    def test_silent_tunnel(self) -> None:
        """An origin may cut its tunnel; it may not be silent for ever."""
        self.asked[-1] = Asked("t", "tunnel", "CONNECT", True, "silence")
        self.assert_found("t: tunnel CONNECT ended with silence")

    def test_answer_from_nowhere(self) -> None:
        del self.seen[0]
        self.assert_found("a: the client got a response of an origin that did not receive the request")

    def test_nothing_done(self) -> None:
        """A proxy that refuses everything has not passed."""
        self.asked[0] = Asked("a", "get", "GET", True, "problem", "503 overloaded")
        self.assert_found("no client got a response of an origin")

    def test_no_record(self) -> None:
        """Of a request that was sent; who left in the middle of a head need not have one."""
        del self.records[2]
        self.assert_found("u: upload POST, problem (503 authorizer-unavailable), has 0 audit records")

    def test_two_records(self) -> None:
        self.records.append(self.records[1])
        self.assert_found("d: denied GET, problem (403 denied), has 2 audit records")

    def test_record_of_nothing(self) -> None:
        self.records.append(Record("qz", "z", "refused", "bad-request"))
        self.assert_found("z: an audit record of a request that no client sent")

    def test_tunnel_without_a_request(self) -> None:
        """It has a record, which belongs to no request."""
        self.records.append(Record("qz", "", "refused", "client-left"))
        self.assertEqual(self.judged().failures, [])
        self.records[-1] = Record("qz", "", "refused", "bad-request")
        self.assert_found("qz: an audit record of a request that no client sent")

    def test_invented_decision(self) -> None:
        """On record as allowed or denied, and the authorization service never said so."""
        self.records[2] = Record("qu", "u", "deny", "denied")
        self.assert_found("u: the audit record has deny; the authorization service decided none")


class GrowthTests(SynchronousTestCase):
    """Memory and descriptors over a run."""

    def failures(self, rss: float = 0.0, descriptors: float = 0.0, count: int = 600) -> list[str]:
        """Judge a run in which they grow by so much from its beginning to its end."""
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
        """A run of seconds says nothing of growth."""
        self.assertEqual(self.failures(rss=300 * MIB, count=30), [])

    def test_trend(self) -> None:
        """The warm-up does not count; the slope is one of a minute."""
        found = trend([(float(at), 1000.0 if at < 10 else float(at)) for at in range(100)])
        self.assertEqual((found.start, found.end, found.most), (20.5, 88.5, 1000.0))
        self.assertAlmostEqual(found.per_minute, 60.0)


class FairnessTests(SynchronousTestCase):
    """How long a client that behaves well waits while others attack."""

    def setUp(self) -> None:
        # Two minutes: a fault of the authorization service, an attack, and peace around each.
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
        """One in a hundred may wait; two may not."""
        peace, attack = self.probes(10.0, 0.010), self.probes(61.0, 0.020)
        slow = self.probes(90.0, 0.5, ENOUGH // 100)
        self.assertEqual(self.failures(*peace, *attack, *slow), [])
        slow = self.probes(90.0, 0.5, ENOUGH // 50)
        (failure,) = self.failures(*peace, *attack, *slow)
        self.assertIn("pipelining: the p99 of the measuring client is 500.0 ms, and without faults 10.0 ms", failure)

    def test_starved(self) -> None:
        """No answer, or a refusal, is worse than a slow answer."""
        for outcome in ("problem", "silence", "closed", "cut", "wrong"):
            (failure,) = self.failures(Probe("p1", 70.0, 0.01, outcome, "429 too-many"))
            self.assertIn(f"p1: during an attack (pipelining), the measuring client has {outcome}", failure)

    def test_what_broke_before(self) -> None:
        """A refusal may be the rest of a fault of another kind."""
        self.windows.insert(1, Window(40.0, 50.0))
        self.assertEqual(self.failures(Probe("p1", 70.0, 0.01, "problem", "503 authorizer-unavailable")), [])

    def test_not_in_peace(self) -> None:
        """What is asked during another fault, or right after it, is not measured."""
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
    """The faults."""

    def test_same_seed(self) -> None:
        self.assertEqual(schedule(3, 600), schedule(3, 600))
        self.assertNotEqual(schedule(3, 600), schedule(4, 600))

    def test_one_after_the_other(self) -> None:
        """Each is repaired before the next; and everything happens to everybody in half an hour."""
        faults = schedule(1, 1800)
        for one, after in pairwise(faults):
            self.assertGreater(after.at, one.at + one.lasts)
        self.assertEqual({one.target for one in faults}, {ATTACKERS, AUTHORIZER, *ORIGINS})
        self.assertEqual({one.kind for one in faults if one.target == ATTACKERS}, set(attackers.MOODS))
        self.assertGreaterEqual(len({(one.target, one.kind) for one in faults}), 20)


class JournalTests(SynchronousTestCase):
    """How requests are found again."""

    def test_id(self) -> None:
        self.assertEqual(id_in("https://127.0.0.2:1/r/c17-3?size=5"), "c17-3")
        self.assertEqual(id_in("http://127.0.0.1:1/denied/c1-0"), "c1-0")
        self.assertEqual(id_in("https://127.0.0.3:1"), "")
