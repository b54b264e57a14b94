"""Tests for L{egress.authz.budgets.shares}."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from egress.authz.budgets.shares import Shares
from tests.authz.budgets.fleet import KEYS, FleetTestCase, Process
from tests.shared.engine import EngineClient


class SharesTests(FleetTestCase):
    """Who counts."""

    def setUp(self) -> None:
        super().setUp()
        self.logged: list[str] = []
        observe: Any = self.observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def observe(self, event: Any) -> None:
        if event["log_namespace"] == "egress.authz.budgets.shares":
            self.logged.append(formatEvent(event))

    def note(self, process: Process) -> str | None:
        return self.successResultOf(process.shares.check())

    def test_without_an_engine(self) -> None:
        process = Process(self.clock, processes=4)
        process.shares.start()
        self.assertEqual((process.shares.counts_together, process.shares.weight), (False, 4))
        self.assertEqual(process.shares.members, 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        process.shares.stop()

    def test_members(self) -> None:
        """Each process counts the others, until they no longer respond."""
        one, two = self.process(), self.process()
        self.assertEqual((Process(self.clock, self.engine).shares.members, two.shares.members), (0, 2))
        self.assertEqual((one.shares.weight, two.shares.weight), (1, 2))
        self.clock.pump([1] * 6)
        self.assertEqual((one.shares.weight, two.shares.weight), (2, 2))
        two.shares.stop()
        self.clock.pump([1] * 30)
        self.assertEqual(one.shares.weight, 1)

    def test_members_after_a_loss(self) -> None:
        """The processes that the engine has forgotten still count until all had the time to register again."""
        processes = [self.process() for _ in range(3)]
        self.clock.pump([1] * 20)
        one, two, three = processes
        doubts: list[Process] = []
        for each in processes:
            each.shares.on_doubt = partial(doubts.append, each)
        three.shares.stop()
        self.engine.lose_data()
        self.clock.advance(1)
        self.assertEqual([each.shares.weight for each in (one, two)], [3, 3])
        self.assertEqual(doubts, [one, two])
        self.clock.pump([1] * 20)
        self.assertEqual([each.shares.weight for each in (one, two)], [2, 2])
        self.assertEqual(doubts, [one, two])
        one.lose()
        self.engine.lose_data()
        self.clock.pump([1] * 20)
        one.connect()
        self.assertEqual(doubts, [one, two, two, one])
        self.clock.advance(1)
        self.assertEqual((one.shares.weight, two.shares.weight), (2, 2))

    def test_notes_and_logs(self) -> None:
        process = self.process()
        client: Any = process.client
        self.assertIsNone(self.note(process))
        client.fault = "gone"
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.note(process), "this process uses 1/1 of each budget until the shared state can be used")
        client.fault = None
        self.clock.pump([1] * 6)
        self.assertIsNone(self.note(process))
        self.assertEqual(len(self.logged), 2, self.logged)
        self.assertIn("this process uses 1/1 of each budget", self.logged[0])
        self.assertIn("counted in the shared state again", self.logged[1])

    def test_rejected_commands(self) -> None:
        """A user without the permissions is visible, too."""
        client: Any = EngineClient(self.engine)
        client.rejects = True
        shares = Shares(self.clock, client, KEYS, processes=1, is_used=lambda: True)
        shares.start()
        self.addCleanup(shares.stop)
        self.clock.advance(1)
        note = self.successResultOf(shares.check())
        assert note is not None
        self.assertIn("requests with a budget are denied until the shared state is reached: WRONGTYPE", note)
        client.rejects = False
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(shares.check()))

    def test_unused(self) -> None:
        """Without budgets there is nothing to report, and no command."""
        client: Any = EngineClient(self.engine)
        shares = Shares(self.clock, client, KEYS, processes=1, is_used=lambda: False)
        shares.start()
        self.addCleanup(shares.stop)
        self.clock.pump([0, 1, 1])
        client.fault = "away"
        self.assertIsNone(self.successResultOf(shares.check()))
        self.assertEqual((self.engine.commands, self.logged), ([], []))

    def test_refusal(self) -> None:
        process = self.process()
        self.assertIsNone(process.shares.refusal(False))
        self.assertIsNotNone(process.shares.refusal(True))

    def test_new_connection(self) -> None:
        """The engine counts again when the other processes had the time to connect; nothing is logged meanwhile."""
        process = self.process()
        self.process()
        self.clock.advance(1)
        process.lose()
        process.shares.report()
        process.connect()
        self.assertEqual((process.shares.is_connected, process.shares.counts_together), (True, False))
        # The engine is told about the tokens of the share.
        self.assertIsNone(process.shares.refusal(True))
        expected = "this process uses 1/2 of each budget until the other processes have reached the shared state"
        self.assertEqual(self.note(process), expected)
        self.clock.advance(1)
        process.shares.report()
        self.clock.advance(0.5)
        self.assertTrue(process.shares.counts_together)
        self.assertIsNone(self.note(process))
        self.assertEqual(len(self.logged), 2, self.logged)

    def test_new_connection_without_replies(self) -> None:
        """An engine that does not execute commands cannot be told, so a policy that permits no share denies."""
        process = self.process()
        self.process()
        self.clock.advance(1)
        process.lose()
        process.connect()
        client: Any = process.client
        client.rejects = True
        self.clock.advance(1)
        self.assertIsNotNone(process.shares.refusal(True))

    def test_new_connection_of_one_process(self) -> None:
        """It waits for no other process."""
        process = self.process()
        self.clock.advance(1)
        process.lose()
        process.connect()
        self.assertTrue(process.shares.counts_together)
