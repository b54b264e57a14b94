"""Tests for L{egress.authz.budgets.waiting}."""

from __future__ import annotations

from functools import partial
from typing import Any

from egress.authz.budgets.charge import Charge
from egress.authz.budgets.waiting import MANY
from egress.model.budget import By, Unit
from egress.shared.redis_protocol import SharedUnavailable
from tests.authz.budgets.fleet import FleetTestCase, Process, budget

SIZE = 64_000_000
BYTES = budget(Unit.BYTES, SIZE, 1e9)


class WaitingTestCase(FleetTestCase):
    """Base: a process that shares a budget with another one, so that it may use a 200th of it before a reply."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.process()
        self.one = self.process()
        self.clock.pump([1, 1])
        self.client: Any = self.one.client
        self.continued: list[str] = []

    def charge(self, *budgets: Any, process: Process | None = None) -> Charge:
        made = self.successResultOf((process or self.one).take(*budgets or (BYTES,)))
        self.addCleanup(made.close)
        return made

    def wait(self, charge: Charge, name: str = "one") -> bool:
        """Return whether the exchange must wait; its name is added to L{continued} at the end."""
        return charge.wait(partial(self.continued.append, name))

    def crowd(self, charge: Charge) -> None:
        """Use as much as is possible before a reply."""
        self.client.pending = []
        charge.spend(charge.room)

    def turn(self) -> None:
        """Run what is due now, but not what becomes due by it."""
        due: list[Any] = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
        for call in due:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class WaitTests(WaitingTestCase):
    """One exchange."""

    def test_reply(self) -> None:
        charge = self.charge()
        # A 1000th is taken in advance.
        self.assertEqual((charge.room, self.wait(charge)), (SIZE // 200 + SIZE // 1000, False))
        self.client.pending = []
        charge.spend(charge.room - 1)
        self.assertEqual((charge.room, self.wait(charge)), (1, False))
        charge.spend(1)
        self.assertTrue(self.wait(charge))
        self.turn()
        self.assertEqual(self.continued, [])
        self.client.flush()
        self.assertEqual(self.continued, [])
        self.turn()
        self.assertEqual((self.continued, self.wait(charge)), (["one"], False))
        self.turn()
        self.assertEqual(self.continued, ["one"])

    def test_owed_bytes_are_told_at_once(self) -> None:
        """What was used after a command was sent is told before the exchange continues."""
        charge = self.charge()
        self.client.pending = []
        charge.spend(SIZE // 1000)
        charge.spend(SIZE // 200)
        self.assertTrue(self.wait(charge))
        self.client.flush()
        self.client.pending = []
        self.turn()
        ((_, command),) = self.client.pending
        self.assertEqual((command[6], self.continued), (repr(SIZE // 200 - SIZE // 1000), ["one"]))
        self.assertEqual(charge.room, SIZE // 1000)
        self.client.flush()

    def test_too_much(self) -> None:
        """A read that exceeds what is possible waits for a second command."""
        charge = self.charge()
        self.client.pending = []
        charge.spend(SIZE // 1000)
        charge.spend(SIZE // 100)
        self.assertTrue(self.wait(charge))
        self.client.flush()
        self.client.pending = []
        self.turn()
        self.assertEqual((self.continued, len(self.client.pending)), ([], 1))
        self.client.flush()
        self.turn()
        self.assertEqual(self.continued, ["one"])

    def test_exhausted(self) -> None:
        """An exchange continues, and then ends."""
        charge = self.charge()
        self.charge(process=self.other).spend(SIZE)
        self.crowd(charge)
        self.assertTrue(self.wait(charge))
        self.assertIsNone(charge.refusal(1))
        self.client.flush()
        self.turn()
        self.assertEqual(self.continued, ["one"])
        self.assertIsNotNone(charge.refusal(1))

    def test_failure(self) -> None:
        """The exchange continues, but each command ends a wait."""
        charge = self.charge()
        self.crowd(charge)
        self.assertTrue(self.wait(charge))
        ((command, _),) = self.client.pending
        self.client.pending = []
        command.errback(SharedUnavailable("no reply"))
        self.turn()
        self.assertEqual((self.continued, self.wait(charge)), (["one"], False))
        self.assertEqual((self.client.pending, charge.room), ([], SIZE // 200))
        charge.spend(1)
        self.assertTrue(self.wait(charge, "two"))
        self.client.rejects = True
        self.client.pending.pop()[0].errback(SharedUnavailable("no reply"))
        self.turn()
        self.assertEqual(self.continued, ["one", "two"])
        charge.spend(1)
        self.assertFalse(self.wait(charge))

    def test_lost_connection(self) -> None:
        charge = self.charge()
        self.crowd(charge)
        self.assertTrue(self.wait(charge))
        ((command, _),) = self.client.pending
        self.one.lose()
        command.errback(SharedUnavailable("lost"))
        self.turn()
        self.assertEqual((self.continued, charge.room), (["one"], MANY))
        charge.spend(SIZE // 10)
        self.assertFalse(self.wait(charge))

    def test_lost_connection_after_the_reply(self) -> None:
        charge = self.charge()
        self.crowd(charge)
        self.assertTrue(self.wait(charge))
        self.client.flush()
        self.one.lose()
        self.turn()
        self.assertEqual(self.continued, ["one"])

    def test_close(self) -> None:
        """An exchange that has ended does not continue, also if the others do at that moment."""
        charges = [self.charge() for _ in range(4)]
        first, second, third, last = charges
        self.crowd(first)
        self.assertTrue(self.wait(first) and second.wait(third.close) and self.wait(third) and self.wait(last, "last"))
        first.close()
        first.close()
        self.client.flush()
        self.turn()
        self.assertEqual(self.continued, ["last"])
        self.crowd(last)
        self.assertTrue(self.wait(last))
        self.client.flush()
        last.close()
        self.turn()
        self.assertEqual(self.continued, ["last"])

    def test_several_budgets(self) -> None:
        """The one with the least room counts."""
        small = budget(Unit.BYTES, SIZE // 10, 1e9, table="other")
        both, one = self.charge(BYTES, small), self.charge()
        self.assertEqual(both.room, SIZE // 2000 + SIZE // 10_000)
        self.crowd(both)
        self.assertTrue(self.wait(both))
        self.assertFalse(self.wait(one))
        self.client.flush()
        self.turn()
        self.assertEqual(self.continued, ["one"])

    def test_requests_only(self) -> None:
        charge = self.charge(budget())
        self.assertEqual((charge.room, self.wait(charge)), (MANY, False))

    def test_tiny_budget(self) -> None:
        """A budget of a few bytes has nothing to take in advance."""
        charge = self.charge(budget(Unit.BYTES, 500, 1e9))
        self.assertEqual(charge.room, 2)
        for _ in range(10):
            self.client.pending = []
            charge.spend(50)
            self.assertTrue(self.wait(charge))
            self.client.flush()
            self.turn()
        self.assertEqual(len(self.continued), 10)
        self.assertIsNotNone(charge.refusal(1))

    def test_number_of_processes(self) -> None:
        """While it is unknown, it counts as four."""
        late = Process(self.clock, self.engine)
        charge = self.charge(process=late)
        self.assertEqual(charge.room, SIZE // 400 + SIZE // 1000)

    def test_nothing_waits(self) -> None:
        """Not without an engine, and not in observe mode."""
        for process in (Process(self.clock), self.process(observes=True)):
            charge = self.charge(process=process)
            if process.client is not None:
                process.client.pending = []
            charge.spend(SIZE // 2)
            self.assertEqual((charge.room, self.wait(charge)), (MANY, False))


class OrderTests(WaitingTestCase):
    """Several exchanges."""

    def test_order(self) -> None:
        """As many as can transfer a read each continue, and the next ones after the next command."""
        charges = [self.charge() for _ in range(20)]
        self.crowd(charges[0])
        for number, charge in enumerate(charges):
            self.assertTrue(self.wait(charge, str(number)))
        self.client.flush()
        self.client.pending = []
        self.turn()
        first = len(self.continued)
        self.assertTrue(5 <= first < 10, first)
        # They use everything.
        charges[0].spend(charges[0].room)
        self.assertTrue(self.wait(charges[0], "again"))
        self.turn()
        self.assertEqual(len(self.continued), first)
        for _ in range(10):
            self.client.flush()
            self.client.pending = []
            self.turn()
        self.assertEqual(self.continued, [*map(str, range(20)), "again"])

    def test_idle_exchanges(self) -> None:
        """If those that continue transfer nothing, the others continue in the next turns."""
        charges = [self.charge() for _ in range(250)]
        self.crowd(charges[0])
        for number, charge in enumerate(charges):
            self.assertTrue(self.wait(charge, str(number)))
        self.client.flush()
        self.client.pending = []
        for _ in range(50):
            self.turn()
        self.assertEqual(self.continued, [str(number) for number in range(250)])
        self.client.flush()

    def test_failed_command(self) -> None:
        """All continue, at most 100 in one turn."""
        charges = [self.charge() for _ in range(250)]
        self.crowd(charges[0])
        for number, charge in enumerate(charges):
            self.assertTrue(self.wait(charge, str(number)))
        ((command, _),) = self.client.pending
        command.errback(SharedUnavailable("lost"))
        for expected in (100, 200, 250):
            self.turn()
            self.assertEqual(len(self.continued), expected)

    def test_error(self) -> None:
        """One that fails does not stop the others."""
        first, second = self.charge(), self.charge()
        self.crowd(first)

        def fail() -> None:
            raise RuntimeError("a bug")

        self.assertTrue(first.wait(fail) and self.wait(second))
        self.client.flush()
        self.turn()
        self.assertEqual((self.continued, len(self.flushLoggedErrors(RuntimeError))), (["one"], 1))

    def test_buckets(self) -> None:
        """The command of another bucket ends no wait."""
        by_host = budget(Unit.BYTES, SIZE, 1e9, by=By.HOST)
        first, second = self.charge(), self.charge(by_host)
        self.crowd(first)
        self.assertTrue(self.wait(first, "first"))
        second.spend(second.room)
        self.assertTrue(self.wait(second, "second"))
        (one, two), self.client.pending = self.client.pending, []
        two[0].callback(self.engine.execute(*two[1]))
        self.turn()
        self.assertEqual(self.continued, ["second"])
        one[0].callback(self.engine.execute(*one[1]))
        self.turn()
        self.assertEqual(self.continued, ["second", "first"])
