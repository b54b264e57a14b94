"""Tests for L{egress.authz.budgets.ledger}."""

from __future__ import annotations

import random
from typing import Any

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.budgets.charge import Charge
from egress.authz.budgets.shares import SETTLED_AFTER
from egress.interfaces import IBudgets
from egress.model.authority import Authority, Origin
from egress.model.budget import By, Unit, WithoutShared
from egress.model.errors import BudgetExhausted, BudgetUnavailable
from egress.shared.redis_protocol import SharedUnavailable
from tests.authz.budgets.fleet import FleetTestCase, Process, budget, client
from tests.authz.fakes import REQUEST

RATE = budget()
BYTES = budget(Unit.BYTES, 100_000, 100.0)


class LocalTests(FleetTestCase):
    """A process that counts for itself."""

    def setUp(self) -> None:
        super().setUp()
        self.one = Process(self.clock)

    def test_interface(self) -> None:
        verifyObject(IBudgets, self.one.ledger)

    def test_rate(self) -> None:
        self.assertFalse(self.one.ledger.is_used)
        self.assertEqual(self.permitted(self.one, RATE), 10)
        self.clock.advance(3)
        self.assertEqual(self.permitted(self.one, RATE), 3)
        error = self.failureResultOf(self.one.take(RATE), BudgetExhausted).value
        self.assertEqual(error.reason, "the rule r permits 10 requests per 10s ([rules.budget])")
        self.assertEqual((error.rule_id, error.budget, error.retry_after), ("r", "budget.requests", 1))
        stats = self.one.ledger.stats()
        self.assertEqual((stats.buckets, stats.exhausted, stats.alone), (1, 3, 0))
        self.assertTrue(self.one.ledger.is_used)

    def test_workers(self) -> None:
        """Without an engine, the workers of a proxy share a budget evenly."""
        self.assertEqual(self.permitted(Process(self.clock, processes=3), RATE), 3)

    def test_by_client(self) -> None:
        limited = budget(by=By.CLIENT)
        for each in (client("ann"), client("bob"), client(), client(address="192.0.2.2")):
            self.assertEqual(self.permitted(self.one, limited, client=each), 10)
        self.assertEqual(self.permitted(self.one, limited, client=client("ann", "192.0.2.9")), 0)
        self.assertEqual(self.permitted(self.one, limited, client=client("192.0.2.1")), 10)

    def test_by_host(self) -> None:
        limited = budget(by=By.HOST)
        for host, port, expected in (("a.test", 80, 10), ("a.test", 81, 0), ("b.test", 80, 10)):
            origin = Origin("http", Authority(host, port))
            self.assertEqual(self.permitted(self.one, limited, origin=origin), expected)

    def test_several_budgets(self) -> None:
        """A request that one budget refuses is not counted against the others."""
        few = budget(amount=2, per=2.0, table="rate")
        self.assertEqual(self.permitted(self.one, RATE, few), 2)
        self.assertEqual(self.permitted(self.one, RATE), 8)

    def test_many_buckets(self) -> None:
        one = Process(self.clock, limit=2)
        limited = budget(by=By.CLIENT)
        for name in ("a", "b"):
            self.successResultOf(one.take(limited, client=client(name)))
        error = self.failureResultOf(one.take(limited, client=client("c")), BudgetUnavailable).value
        self.assertIn("a budget for each client", error.reason)
        of_bytes = budget(Unit.BYTES, by=By.CLIENT)
        self.assertRaises(BudgetUnavailable, one.ledger.follow, attrs.evolve(REQUEST, client=client("d")), (of_bytes,))
        self.assertEqual(one.ledger.stats().unavailable, 2)
        self.clock.advance(2)
        self.successResultOf(one.take(limited, client=client("c")))

    def test_bytes(self) -> None:
        charge = self.successResultOf(self.one.take(BYTES))
        self.assertTrue(charge.counts_bytes)
        self.assertIsNone(charge.refusal(60_000))
        self.assertEqual(charge.left, 100_000)
        charge.spend(60_000)
        other = self.successResultOf(self.one.take(BYTES))
        error = other.refusal(40_500)
        assert error is not None
        self.assertEqual((error.budget, error.retry_after), ("budget.bytes", 1))
        self.assertIsNone(other.refusal(40_000))
        other.spend(40_000)
        self.failureResultOf(self.one.take(BYTES), BudgetExhausted)
        self.clock.advance(10)
        self.assertIsNone(charge.refusal(10_000))

    def test_refund(self) -> None:
        """Content that ends early counts as far as it was transferred."""
        for processes in (1, 2):
            one = Process(self.clock, processes=processes)
            charge = self.successResultOf(one.take(BYTES))
            before = charge.left
            charge.spend(30_000)
            charge.refund(10_000)
            self.assertEqual(before - charge.left, 20_000)

    def test_announced_content(self) -> None:
        """Content that is longer than what is left is refused at once, and content that never fits without a time."""
        self.successResultOf(self.one.take(BYTES, content_length=None)).spend(50_000)
        error = self.failureResultOf(self.one.take(BYTES, content_length=60_000), BudgetExhausted).value
        self.assertEqual(error.retry_after, 10)
        error = self.failureResultOf(self.one.take(BYTES, content_length=100_001), BudgetExhausted).value
        self.assertEqual(error.retry_after, None)
        self.assertIn("the content has 100,001 bytes", error.reason)
        self.successResultOf(self.one.take(BYTES, content_length=50_000))

    def test_observed(self) -> None:
        one = Process(self.clock, observes=True)
        few = budget(amount=1, per=1.0)
        self.assertIsNone(self.successResultOf(one.take(few)).observed)
        charge = self.successResultOf(one.take(few, BYTES))
        self.assertIsInstance(charge.observed, BudgetExhausted)
        charge = self.successResultOf(one.take(BYTES))
        self.assertIsNone(charge.refusal(1_000_000))
        self.assertGreater(charge.left, 1_000_000)


class SharedTests(FleetTestCase):
    """Processes that count together."""

    def setUp(self) -> None:
        super().setUp()
        self.processes = [self.process() for _ in range(3)]
        self.one, self.two, self.three = self.processes
        # Until the others are counted.
        self.clock.pump([1] * 5)

    def spread(self, budget: Any, most: int = 10_000) -> int:
        """Send requests to the processes in turn until each refuses one, and return the number of permitted ones."""
        permitted, open_ones = 0, list(self.processes)
        for number in range(most):
            if not open_ones:
                break
            process = open_ones[number % len(open_ones)]
            if isinstance(getattr(taking := process.take(budget), "result", None), Charge):
                permitted += 1
            else:
                self.failureResultOf(taking, BudgetExhausted)
                open_ones.remove(process)
        return permitted

    def full_at(self) -> int:
        """Return the time at which the only bucket is full."""
        (state,) = self.engine.states.values()
        return state.full_at

    def test_small_budget(self) -> None:
        """It is exact."""
        self.assertEqual(self.spread(RATE), 10)
        self.clock.advance(4)
        self.assertEqual(self.spread(RATE), 4)
        error = self.failureResultOf(self.two.take(RATE), BudgetExhausted).value
        self.assertEqual(error.retry_after, 1)

    def test_large_budget(self) -> None:
        """Few requests need a command, and the error is at most what the processes have taken in advance."""
        self.engine.commands.clear()
        found = self.spread(budget(amount=5000, per=500_000.0))
        self.assertTrue(4985 <= found <= 5000, found)
        self.assertLess(len(self.engine.commands), 1300)

    def test_unused_tokens_are_returned(self) -> None:
        large = budget(amount=5000, per=500_000.0)
        self.successResultOf(self.one.take(large))
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.permitted(self.two, large, most=6000), 4999)

    def test_several_budgets(self) -> None:
        few = budget(amount=2, per=2.0, table="rate")
        self.assertEqual(self.permitted(self.one, few, RATE), 2)
        self.assertEqual(self.permitted(self.two, RATE), 8)
        self.clock.advance(2)
        self.assertEqual(self.permitted(self.three, RATE, few), 2)

    def test_held_tokens_of_a_refused_request(self) -> None:
        """What was taken for one budget stays when the other refuses."""
        large, few = budget(amount=5000, per=500_000.0), budget(amount=1, per=10.0, table="rate")
        self.successResultOf(self.one.take(large))
        self.successResultOf(self.one.take(few))
        for process in (self.one, self.two):
            self.failureResultOf(process.take(large, few), BudgetExhausted)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.permitted(self.three, large, most=6000), 4999)

    def test_refusals_are_remembered(self) -> None:
        """For a moment, so that a flood of requests does not reach the engine."""
        self.assertEqual(self.permitted(self.one, RATE), 10)
        self.engine.commands.clear()
        self.assertEqual(self.permitted(self.one, RATE), 0)
        self.assertEqual(self.engine.commands, [])
        self.clock.advance(0.3)
        self.assertEqual(self.permitted(self.two, RATE), 0)
        self.assertEqual(self.permitted(self.two, RATE), 0)
        self.clock.advance(0.3)
        self.assertEqual(self.permitted(self.two, RATE), 0)
        self.assertEqual(len(self.engine.commands), 2)

    def test_bytes(self) -> None:
        """Bytes of all processes count, and a running transfer ends when the budget is exhausted."""
        of_bytes = budget(Unit.BYTES, 100_000, 100_000.0)
        charges = [self.successResultOf(each.take(of_bytes)) for each in self.processes]
        total = 0
        while charges:
            for charge in list(charges):
                if charge.refusal(500) is None:
                    charge.spend(500)
                    total += 500
                else:
                    charges.remove(charge)
        self.assertTrue(98_000 <= total <= 102_000, total)

    def test_refund(self) -> None:
        """Returned bytes are permitted again, to all processes."""
        of_bytes = budget(Unit.BYTES, 100_000, 1e9)
        charge = self.successResultOf(self.one.take(of_bytes))
        charge.spend(90_000)
        self.clock.advance(1)
        charge.refund(50_000)
        self.assertEqual(charge.left, 60_000)
        self.clock.pump([1, 1, 1])
        self.failureResultOf(self.two.take(of_bytes, content_length=60_100), BudgetExhausted)
        self.successResultOf(self.two.take(of_bytes, content_length=59_900))

    def test_refund_while_the_engine_is_away(self) -> None:
        """What the engine has not learned yet counts less; a share that was used is not returned."""
        of_bytes = budget(Unit.BYTES, 100_000, 1e9)
        charge = self.successResultOf(self.one.take(of_bytes))
        charge.spend(10_000)
        self.clock.advance(1)
        for each in self.processes:
            each.lose()
        charge.spend(20_000)
        left = charge.left
        charge.refund(5_000)
        self.assertEqual(charge.left, left)
        for each in self.processes:
            each.connect()
        self.clock.pump([1, 1, 1])
        self.failureResultOf(self.two.take(of_bytes, content_length=75_100), BudgetExhausted)
        self.successResultOf(self.two.take(of_bytes, content_length=74_900))

    def test_upload(self) -> None:
        """The announced length is compared with what is left for all processes."""
        of_bytes = budget(Unit.BYTES, 100_000, 100_000.0)
        charge = self.successResultOf(self.one.take(of_bytes, content_length=90_000))
        charge.spend(90_000)
        self.failureResultOf(self.two.take(of_bytes, content_length=20_000), BudgetExhausted)
        self.clock.pump([1, 1, 1])
        self.successResultOf(self.two.take(of_bytes, content_length=10_000))

    def test_disconnected_client(self) -> None:
        """The tokens of a request that ended meanwhile are returned."""
        client: Any = self.one.client
        client.pending = []
        taking = self.one.take(RATE)
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        client.flush()
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.permitted(self.two, RATE), 10)
        client.pending = []
        taking = self.one.take(RATE)
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        client.flush()
        self.assertEqual(self.permitted(self.one, RATE), 0)

    def test_engine_is_away(self) -> None:
        """Each process continues with its share of what is left, and tells the engine afterwards."""
        self.assertEqual(self.permitted(self.one, RATE, most=4), 4)
        self.successResultOf(self.two.take(RATE))
        for each in self.processes:
            client: Any = each.client
            client.fault = "away"
        # 5 of 10 were left when the second process looked, 6 for the first one; the third one has never looked.
        self.assertEqual([self.permitted(each, RATE) for each in self.processes], [2, 1, 3])
        self.assertEqual(self.one.ledger.stats().alone, 3)
        for each in self.processes:
            client = each.client
            client.fault = None
        self.clock.advance(1)
        self.assertApproximates(self.full_at(), self.engine.now + 10e6, 1.1e6)
        self.assertEqual(self.spread(RATE), 0)
        self.clock.advance(4)
        self.assertEqual(self.spread(RATE), 4)

    def test_deny_without_the_engine(self) -> None:
        strict = budget(without_shared=WithoutShared.DENY)
        client: Any = self.one.client
        self.successResultOf(self.one.take(strict))
        client.fault = "away"
        error = self.failureResultOf(self.one.take(strict), BudgetUnavailable).value
        self.assertIn("the rule r permits 10 requests per 10s, which cannot be counted", error.reason)
        self.assertEqual(error.retry_after, 1)
        client.fault = None
        self.successResultOf(self.one.take(strict))

    def test_failing_commands(self) -> None:
        """They count as a missing engine, and nothing is lost."""
        client: Any = self.one.client
        client.rejects = True
        self.assertEqual(self.permitted(self.one, RATE), 3)
        client.rejects = False
        self.assertEqual(self.one.ledger.stats().failed, 4)
        self.clock.advance(1)
        # One of them was refilled while the engine did not know.
        self.assertEqual(self.spread(RATE), 7)

    def test_invalid_replies(self) -> None:
        """They count as a missing engine, too."""
        for reply in (None, b"OK", [1], [1, 2, 3, b"4", 5], [1, 2, -3, 4, 5]):
            self.engine.execute = lambda *_, reply=reply: reply  # type: ignore[method-assign]
            self.successResultOf(self.two.take(budget(amount=1000)))
        self.assertEqual(self.two.ledger.stats().alone, 5)

    def test_failing_transfers(self) -> None:
        of_bytes = budget(Unit.BYTES, 100_000, 100_000.0)
        charge = self.successResultOf(self.one.take(of_bytes))
        client: Any = self.one.client
        client.rejects = True
        charge.spend(1000)
        client.rejects = False
        charge.spend(1000)
        self.clock.pump([1, 1, 1])
        self.assertApproximates((self.full_at() - self.engine.now) / 1e6, 2000 - 3, 101)

    def test_disconnected_client_of_a_failing_command(self) -> None:
        client: Any = self.one.client
        client.pending = []
        taking = self.one.take(RATE)
        taking.cancel()
        self.failureResultOf(taking, CancelledError)
        ((command, _),) = client.pending
        client.pending = None
        command.errback(SharedUnavailable("lost"))
        self.assertEqual(self.permitted(self.one, RATE), 10)

    def test_unknown_number_of_processes(self) -> None:
        """A process that has never reached the engine cannot know its share."""
        late = Process(self.clock, self.engine)
        client: Any = late.client
        client.fault = "away"
        error = self.failureResultOf(late.take(RATE), BudgetUnavailable).value
        self.assertIn("the number of replicas is unknown", error.reason)

    def test_attacker(self) -> None:
        """However often someone resets the state, a process uses at most the whole budget."""
        permitted = 0
        for _ in range(100):
            self.engine.states.clear()
            taking = self.one.take(RATE)
            if isinstance(getattr(taking, "result", None), Charge):
                permitted += 1
            else:
                self.failureResultOf(taking, BudgetExhausted)
        self.assertEqual(permitted, 10)

    def test_renewal(self) -> None:
        """A later decision continues to count bytes, and counts no request."""
        of_bytes = budget(Unit.BYTES, 100_000, 100_000.0)
        charge = self.one.ledger.follow(REQUEST, (RATE, of_bytes))
        self.assertTrue(charge.counts_bytes)
        charge.spend(100)
        self.assertEqual(self.permitted(self.one, RATE), 10)

    def test_names(self) -> None:
        """The engine does not see what is counted, and all buckets of a rule are in one slot."""
        for name in ("ann", "bob"):
            self.successResultOf(self.one.take(budget(by=By.CLIENT), RATE, client=client(name)))
        names = list(self.engine.states)
        self.assertEqual(len(set(names)), 3)
        self.assertEqual(len({name.partition(b"}")[0] for name in names}), 1)
        self.assertNotIn(b"ann", b"".join(names))


class LossTests(FleetTestCase):
    """An engine that loses its data learns the state from the processes."""

    def setUp(self) -> None:
        super().setUp()
        self.processes = [self.process() for _ in range(3)]
        self.one, self.two, self.three = self.processes
        self.clock.pump([1] * 5)

    def total(self, budget: Any, lose: Any, most: int = 100_000) -> int:
        """Send requests to random processes until each refuses one; lose the data after a part of them."""
        chance = random.Random(17)
        permitted = refused = 0
        while refused < 30 and permitted < most:
            process = chance.choice(self.processes)
            if isinstance(getattr(taking := process.take(budget), "result", None), Charge):
                permitted += 1
                if permitted % 100 == 0:
                    lose()
            else:
                refused += 1
                self.failureResultOf(taking, BudgetExhausted, BudgetUnavailable)
        return permitted

    def restart(self) -> None:
        """Restart the engine without data: the processes connect in another order."""
        for each in self.processes:
            each.lose()
        self.engine.lose_data()
        for each in reversed(self.processes):
            each.connect()
        self.clock.advance(SETTLED_AFTER)

    def test_first_connection(self) -> None:
        """A process that connects before others do uses its share, until they have told what they used."""
        large = budget(amount=300, per=300e6)
        for each in self.processes:
            self.assertEqual(self.permitted(each, large, most=30), 30)
        for each in self.processes:
            each.lose()
        self.engine.lose_data()
        self.assertEqual(self.permitted(self.two, large, most=60), 60)
        self.one.connect()
        # A third of what was left when it last used the budget.
        self.assertEqual(self.permitted(self.one, large), 90)
        self.two.connect()
        self.three.connect()
        self.clock.advance(SETTLED_AFTER)
        self.assertEqual(self.total(large, lambda: None), 300 - 90 - 60 - 90)

    def test_lost_data(self) -> None:
        """While all processes are active, hardly anything is lost: what others took since the last command of one."""
        for lose in (self.engine.lose_data, self.restart):
            self.assertEqual(self.total(budget(amount=450, per=450e6), lose), 450)
            self.setUp()
        found = self.total(budget(amount=5000, per=5e9), self.engine.lose_data)
        self.assertTrue(4980 <= found <= 5020, found)

    def test_idle_processes(self) -> None:
        """After a new connection, a process immediately tells what it knows; otherwise, it notices within a second."""
        large = budget(amount=300, per=300e6)
        self.assertEqual(self.permitted(self.one, large, most=200), 200)
        self.restart()
        self.assertEqual(self.permitted(self.two, large), 100)
        self.setUp()
        self.assertEqual(self.permitted(self.one, large, most=200), 200)
        self.engine.lose_data()
        self.assertEqual(self.permitted(self.two, large, most=60), 60)
        self.clock.advance(1)
        self.assertEqual(self.permitted(self.two, large), 40)

    def test_late_processes(self) -> None:
        """What was permitted too much counts later."""
        limited = budget(amount=100, per=100.0)
        self.assertEqual(self.permitted(self.one, limited, most=80), 80)
        self.engine.lose_data()
        self.assertEqual(self.permitted(self.two, limited, most=50), 50)
        self.clock.advance(10)
        self.assertEqual(self.permitted(self.two, limited), 0)
        self.clock.advance(30)
        self.assertEqual(self.permitted(self.two, limited), 10)

    def test_older_data(self) -> None:
        """A replica of the engine that becomes the primary one lacks what was changed last."""
        large = budget(amount=300, per=300e6)
        for each in self.processes:
            self.assertEqual(self.permitted(each, large, most=20), 20)
        older = dict(self.engine.states)
        for each in self.processes:
            self.assertEqual(self.permitted(each, large, most=30), 30)
        for each in self.processes:
            each.lose()
        self.engine.states = older
        for each in self.processes:
            each.connect()
            self.assertEqual(self.permitted(each, large, most=10), 10)
        self.clock.advance(SETTLED_AFTER)
        self.assertEqual(self.total(large, lambda: None), 120)

    def test_unused_bucket(self) -> None:
        """A process that does not use a bucket knows what others have used, when the engine goes away."""
        small = budget(amount=300, per=300.0)
        self.successResultOf(self.one.take(small))
        self.assertEqual(self.permitted(self.two, small, most=250), 250)
        # 1 % of the time of the budget.
        self.clock.pump([1] * 4)
        for each in self.processes:
            each.lose()
        self.engine.lose_data()
        # A third of the rest: 49, and 4 that were refilled.
        self.assertEqual(self.permitted(self.one, small), 17)

    def test_looking_is_bounded(self) -> None:
        """A process looks at a bucket once in 1 % of its time, and at 100 buckets at a time."""
        for number in range(150):
            taking = self.one.take(budget(amount=10, per=1000.0, by=By.CLIENT), client=client(str(number)))
            self.successResultOf(taking)
        engine_client: Any = self.one.client
        engine_client.pending = []
        self.clock.pump([1] * 8)
        # The process also registers every second.
        self.assertEqual(len(engine_client.pending), 8)
        self.clock.pump([1] * 4)
        self.assertEqual(len(engine_client.pending), 12 + 100)

    def test_use_without_the_engine(self) -> None:
        """It is told with the state."""
        large = budget(amount=300, per=300e6)
        for each in self.processes:
            self.assertEqual(self.permitted(each, large, most=20), 20)
        for each in self.processes:
            each.lose()
            self.assertEqual(self.permitted(each, large, most=30), 30)
        self.engine.lose_data()
        for each in self.processes:
            each.connect()
        self.clock.advance(SETTLED_AFTER)
        self.assertEqual(self.total(large, lambda: None), 150)

    def test_lost_reply(self) -> None:
        """A state counts once, however often it is sent."""
        large = budget(amount=300, per=300e6)
        self.assertEqual(self.permitted(self.one, large, most=200), 200)
        self.restart()
        self.one.ledger.tell()
        self.one.lose()
        self.one.connect()
        self.clock.advance(SETTLED_AFTER)
        self.assertEqual(self.permitted(self.one, large), 100)

    def test_full_buckets(self) -> None:
        """A bucket that was full meanwhile, and one that the process never used, are not told."""
        self.assertEqual(self.permitted(self.one, RATE), 10)
        self.clock.advance(10)
        self.engine.commands.clear()
        self.one.ledger.tell()
        self.assertEqual(self.engine.commands, [])
        self.assertEqual(self.permitted(self.two, RATE), 10)

    def test_many_buckets(self) -> None:
        """The work of one turn and the number of commands without a reply are bounded."""
        for number in range(1500):
            self.successResultOf(self.one.take(budget(amount=10, per=1e6, by=By.CLIENT), client=client(str(number))))
        engine_client: Any = self.one.client
        engine_client.pending = []
        self.engine.states.clear()
        self.one.ledger.tell()
        self.clock.advance(0)
        self.assertEqual(len(engine_client.pending), 100)
        deferred, arguments = engine_client.pending.pop(0)
        deferred.callback(self.engine.execute(*arguments))
        self.clock.advance(0)
        self.assertEqual(len(engine_client.pending), 100)
        for _ in range(20):
            engine_client.flush()
            engine_client.pending = []
            self.clock.advance(0)
        self.assertEqual(len(self.engine.states), 1500)
        engine_client.flush()
        self.one.ledger.tell()
        self.one.lose()
        self.clock.advance(0)
        self.assertEqual(len(self.engine.states), 1500)


class SweepTests(SynchronousTestCase):
    """The bounded work of a sweep."""

    def test_nothing_without_the_engine(self) -> None:
        Process(Clock()).ledger.sweep()
