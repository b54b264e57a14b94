"""Tests for L{tests.fleet.budgets}: every violation is found, and what is permitted is not a violation."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.budgets import excesses, uses
from tests.fleet.joined import Joined, Verdict
from tests.fleet.judge import judge
from tests.fleet.observations import BYTES, REDIS, REQUESTS, Charged, Fault, Limit, Record, Run, Seen

MANY = Limit(REQUESTS, 600, 30, 100, 3)
LARGE = Limit(BYTES, 10_000_000, 10, 10_000_000, 100_000)
NAME = "budget of requests"


class BudgetTests(SynchronousTestCase):
    """Two replicas that permit exactly what a budget permits, one after the other."""

    def setUp(self) -> None:
        self.charged: list[Charged] = []
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.limits = [MANY]
        self.use(100, 100.0, 100.0)
        self.use(1200, 100.0, 160.0)
        self.refuse(160.0)

    def use(self, number: int, began: float, ended: float) -> None:
        """Send requests at regular intervals."""
        for index in range(number):
            at = began + (ended - began) * (index + 1) / number
            id_ = f"r-{len(self.charged)}"
            address = f"127.160.0.{len(self.charged) % 2}"
            self.charged.append(Charged(id_, address, "GET", REQUESTS, at - 0.1, at + 0.1, "complete", received=5))
            self.seen.append(Seen(at, id_, "GET", REQUESTS))

    def refuse(self, at: float, detail: str = "429 budget-exhausted", outcome: str = "problem") -> None:
        """Send a request that is not forwarded."""
        self.charged.append(Charged("refused", "127.160.0.1", "GET", REQUESTS, at, at, outcome, detail))

    def judged(self) -> Verdict:
        """Judge the observations."""
        sessions = {"127.160.0.0": "one", "127.160.0.1": "two"}
        run = Run(
            ttl=1.0,
            tunnel_host="",
            replicas=["one", "two"],
            sessions=sessions,
            faults=self.faults,
            limits=self.limits,
            charged=self.charged,
            charged_seen=self.seen,
        )
        verdict = judge(run)
        verdict.failures = [text for text in verdict.failures if "budget" in text or "refused" in text or "r-" in text]
        return verdict

    def test_exact(self) -> None:
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertEqual(verdict.counts[NAME]["used"], 1300)
        self.assertEqual(verdict.counts[NAME]["more than permitted"], 0)
        self.assertEqual(verdict.figures[f"{NAME}: used, in percent of what is permitted"], 100)
        self.assertEqual(verdict.figures[f"{NAME}: error in the time of the budget, in percent"], 0)

    def test_error(self) -> None:
        """Up to 2 % of the amount in each period, in addition to what is in flight."""
        self.use(8 + 11, 130.0, 130.0)
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertEqual(verdict.counts[NAME]["more than permitted"], 11)
        self.use(11, 161.0, 161.0)
        self.assertEqual(self.judged().failures, [])
        self.use(4, 159.0, 159.0)
        (failure,) = self.judged().failures
        self.assertIn(f"{NAME}: 15 more than permitted in the 30 s before", failure)
        self.setUp()
        self.use(8 + 13, 130.0, 130.0)
        self.assertEqual(len(self.judged().failures), 1)

    def test_refilled_at_once(self) -> None:
        """What a bucket that is full again permits is too much."""
        self.use(100, 130.0, 131.0)
        self.assertNotEqual(self.judged().failures, [])

    def test_killed_replica(self) -> None:
        """Nobody knows what it used without Redis."""
        self.use(100, 140.0, 141.0)
        self.faults = [Fault(REDIS, 120.0, 120.0, 130.0), Fault("two", 129.0, 129.0, 131.0)]
        verdict = self.judged()
        self.assertEqual(verdict.failures, [])
        self.assertEqual(verdict.counts[NAME]["used by a replica that was killed while redis was away"], 95)
        self.assertLess(verdict.figures[f"{NAME}: error in the time of the budget, in percent"], 2)
        for faults in (
            [Fault(REDIS, 120.0, 120.0, 130.0), Fault("two", 137.5, 137.5, 138.0)],
            [Fault(REDIS, 127.0, 127.0, 130.0), Fault("two", 128.0, 128.0, 131.0)],
            [Fault("two", 129.0, 129.0, 131.0)],
        ):
            self.faults = faults
            self.assertNotEqual(self.judged().failures, [])

    def test_unused(self) -> None:
        """A load that exhausts no budget proves nothing."""
        self.charged.pop()
        self.use(600, 160.0, 191.0)
        self.assertEqual(self.judged().failures, [f"{NAME}: the load does not exhaust it"])
        self.setUp()
        self.charged.pop()
        self.assertEqual(self.judged().failures, [])
        self.charged, self.seen = [], []
        self.assertEqual(self.judged().failures, [])

    def test_outcomes(self) -> None:
        """Only a budget refuses a request, or the loss of Redis, or its replica was killed."""
        for detail, outcome in (("503 budget-unavailable", "problem"), ("end", "closed"), ("", "silence")):
            self.charged.pop()
            self.refuse(150.0, detail, outcome)
            (failure,) = self.judged().failures
            self.assertIn("nothing explains the end of a request with a budget on two", failure)
        for fault, detail, outcome in (
            (Fault(REDIS, 140.0, 140.0, 145.0), "503 budget-unavailable", "problem"),
            (Fault("two", 149.9, 150.1, 151.0), "end", "closed"),
            (Fault("two", 149.9, 150.1, 151.0), "end", "cut"),
        ):
            self.charged.pop()
            self.faults = [fault]
            self.refuse(150.0, detail, outcome)
            self.assertEqual(self.judged().failures, [])

    def test_cut(self) -> None:
        """A transfer ends when its budget is exhausted, as its record says."""
        away = Fault(REDIS, 140.0, 140.0, 145.0)
        for path, outcome, faults, number in (
            (BYTES, "budget-exhausted", [], 0),
            (BYTES, "budget-unavailable", [away], 0),
            (BYTES, "budget-unavailable", [], 1),
            (BYTES, "forwarded", [], 1),
            (REQUESTS, "budget-exhausted", [], 1),
        ):
            with self.subTest(path=path, outcome=outcome, faults=faults):
                one = Charged("r-x", "127.160.0.1", "GET", path, 150.0, 150.1, "cut", received=5)
                record = Record("two", "x", "r-x", one.address, "request", "allow", outcome)
                run = Run(ttl=1.0, tunnel_host="", replicas=[], faults=faults, charged=[one], charged_records=[record])
                self.assertEqual(sum("r-x: nothing explains" in text for text in judge(run).failures), number)

    def test_origin(self) -> None:
        """It receives what clients send, and nothing else."""
        first = self.seen.pop(0)
        (failure,) = self.judged().failures
        self.assertIn("r-0: its client got a response of an origin that did not receive it", failure)
        self.seen += [first, Seen(150.0, "r-x", "GET", REQUESTS)]
        (failure,) = self.judged().failures
        self.assertIn("r-x: the origin received a request with a budget that no client sent", failure)

    def test_bytes(self) -> None:
        """Uploads count when the origin receives them, and downloads when their client does; repetitions do not."""
        charged = [
            Charged("a", "x", "GET", f"{BYTES}500", 1.0, 2.0, "complete", received=500),
            Charged("b", "x", "POST", f"{BYTES}0", 3.0, 5.0, "complete", content=700, received=3),
            Charged("c", "x", "GET", f"{BYTES}500", 1.0, 6.0, "cut", received=20),
            Charged("d", "x", "GET", REQUESTS, 1.0, 6.0, "complete", received=20),
            Charged("e", "x", "POST", f"{BYTES}0", 1.0, 6.0, "problem", content=90),
        ]
        seen = [Seen(at, id_, "GET", "") for at, id_ in ((1.5, "a"), (1.6, "a"), (4.0, "b"), (1.1, "c"), (1.2, "d"))]
        run = Run(ttl=1.0, tunnel_host="", replicas=[], charged=charged, charged_seen=seen)
        found = [(use.at, use.number) for use in uses(Joined(run), LARGE)]
        self.assertEqual(found, [(1.1, 0), (1.5, 0), (2.0, 500), (4.0, 700), (5.0, 3), (6.0, 20)])
        self.assertEqual([use.number for use in uses(Joined(run), MANY)], [1])

    def test_excesses(self) -> None:
        """They are forgiven, and refilled tokens are not kept beyond the size of the bucket."""
        self.assertEqual(excesses(MANY, []), [])
        self.use(700, 300.0, 300.0)
        verdict = self.judged()
        self.assertEqual(verdict.counts[NAME]["more than permitted"], 592)
