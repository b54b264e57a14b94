"""The model and the simulation of a fleet."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.scaling import model, plan
from benchmarks.scaling.__main__ import main, parser
from benchmarks.scaling.model import Load, Rates
from benchmarks.scaling.simulation import Arrival, Counts, Fleet, arrivals

ONE_KEY = Load(rate=1.0, keys=1, ttl=2.0, call=0.5)


class ModelTests(SynchronousTestCase):
    """The expected values."""

    def test_one_key(self) -> None:
        """A decision lives for two seconds, and the next request comes a second later."""
        self.assertAlmostEqual(model.alone(ONE_KEY, 1).questions, 1 / 3)
        self.assertAlmostEqual(model.shared(ONE_KEY, 1).questions, 1 / 3)
        self.assertAlmostEqual(model.shared(ONE_KEY, 1).lookups, 1 / 3)

    def test_many_processes(self) -> None:
        """Alone, each request is a call in the end.  With shared decisions, the number of calls stays."""
        self.assertAlmostEqual(model.alone(ONE_KEY, 10_000).questions, 1.0, places=3)
        self.assertAlmostEqual(model.shared(ONE_KEY, 10_000).questions, 1 / 3)
        self.assertAlmostEqual(model.shared(ONE_KEY, 10_000).lookups, 1.0, places=3)

    def test_agrees_with_the_simulation(self) -> None:
        load = Load(rate=300.0, call=0.0)
        for processes in (1, 2, 3, 10):
            requests = arrivals(load, 200.0, processes, seed=7)
            for shares, of in ((False, model.alone), (True, model.shared)):
                with self.subTest(processes=processes, shares=shares):
                    counts, rates = Fleet(load, shares).run(requests), of(load, processes)
                    self.assertEqual(counts.requests, len(requests))
                    self.assertLess(abs(counts.questions / 200 / rates.questions - 1), 0.03)
                    lookups = (counts.shared + counts.questions) / 200 if shares else 0.0
                    self.assertLess(abs(lookups - rates.lookups), 0.03 * rates.lookups + 1e-9)


class SimulationTests(SynchronousTestCase):
    """What happens to single requests."""

    def counts(self, shares: bool, *requests: tuple[float, int]) -> Counts:
        return Fleet(ONE_KEY, shares).run([Arrival(time, 0, process) for time, process in requests])

    def test_own_decision(self) -> None:
        """It lives from the response on."""
        for shares in (False, True):
            found = self.counts(shares, (0.0, 0), (0.6, 0), (2.4, 0), (2.6, 0))
            self.assertEqual((found.hits, found.questions), (2, 2))

    def test_joined(self) -> None:
        for shares in (False, True):
            found = self.counts(shares, (0.0, 0), (0.4, 0))
            self.assertEqual((found.joined, found.questions), (1, 1))

    def test_without_sharing(self) -> None:
        self.assertEqual(self.counts(False, (0.0, 0), (1.0, 1)), Counts(questions=2))

    def test_shared(self) -> None:
        """It lives from the call on, in all other processes."""
        self.assertEqual(self.counts(True, (0.0, 0), (1.0, 1), (1.9, 1)), Counts(hits=1, shared=1, questions=1))
        self.assertEqual(self.counts(True, (0.0, 0), (1.0, 1), (2.1, 1)), Counts(shared=1, questions=2))

    def test_waited(self) -> None:
        """The other process looks again and again until the call has ended."""
        found = self.counts(True, (0.0, 0), (0.4, 1), (0.54, 1), (0.56, 1))
        self.assertEqual(found, Counts(hits=1, joined=1, shared=1, waited=1, questions=1))

    def test_repeatable(self) -> None:
        first, second = (arrivals(Load(rate=50.0), 5.0, 3, seed=seed) for seed in (1, 1))
        self.assertEqual(first, second)
        self.assertNotEqual(first, arrivals(Load(rate=50.0), 5.0, 3, seed=2))
        self.assertEqual(first, sorted(first))


class PlanTests(SynchronousTestCase):
    """The table."""

    def test_commands(self) -> None:
        self.assertAlmostEqual(plan.commands(Rates(questions=10.0, lookups=100.0), 3), 156.6)
        self.assertEqual(plan.events(10), 20.0)

    def test_table(self) -> None:
        costs = plan.Costs(local=100.0, shared=200.0, call=300.0, command=10.0)
        table = list(plan.lines(Load(rate=100.0, keys=1, ttl=1e9), costs, (2,)))
        self.assertEqual(table[2], "| 2 | 200 | 0 | 0 | 0 | 4 | 0.00 | 1 | 0.01 |")

    def test_command(self) -> None:
        with redirect_stdout(StringIO()) as out:
            self.assertEqual(main(["--plan", "--command-cost", "20"]), 0)
        self.assertEqual(out.getvalue().count("\n"), 3 + len(plan.FLEETS))
        self.assertEqual(parser().parse_args([]).rate, 150.0)
