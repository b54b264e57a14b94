"""Tests for L{egress.shared.confirmations}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from egress.shared import confirmations as module
from egress.shared.confirmations import Confirmations, Confirmed
from egress.shared.events import INTERVAL, Event
from tests.shared.test_events import KEYS, EventsTestCase, Member, module_name


class Confirming(Member):
    """A process that confirms questions while it is told to.

    @ivar asked: the questions that it received.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.confirmations = Confirmations(arguments[0], self.events)
        self.asked: list[Event] = []
        self.answers = True
        self.events.handle("question", self._received)

    def _received(self, event: Event) -> None:
        self.asked.append(event)
        if self.answers:
            self.confirmations.confirm(event, {"text": event["text"]})


class ConfirmationsTests(EventsTestCase):
    """A process waits until others have confirmed its event."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two, self.three = (Confirming(self.clock, self.engine) for _ in range(3))
        self.wait(3)

    def ask(self, *members: Confirming, seconds: float = 1.5) -> Deferred[Confirmed]:
        names = {each.events.member_id for each in members}
        return self.one.confirmations.ask("question", {"text": "x"}, names, seconds=seconds)

    def test_all_confirm(self) -> None:
        asked = self.ask(self.two, self.three)
        self.assertNoResult(asked)
        for _ in range(10):
            self.clock.advance(0.1)
        confirmed = self.successResultOf(asked)
        names = [each.events.member_id for each in (self.two, self.three)]
        self.assertEqual(confirmed.results, {key: {"text": "x"} for key in names})
        self.assertEqual((confirmed.missing, self.one.asked), (set(), []))

    def test_one_does_not_confirm(self) -> None:
        self.three.answers = False
        asked = self.ask(self.two, self.three)
        self.wait(1.25)
        self.assertNoResult(asked)
        self.wait(0.5)
        confirmed = self.successResultOf(asked)
        self.assertEqual((len(confirmed.results), confirmed.missing), (1, {self.three.events.member_id}))

    def test_one_ends(self) -> None:
        """A process that has ended cannot confirm, and applies nothing."""
        self.three.answers = self.two.answers = False
        asked, other = self.ask(self.three), self.ask(self.two)
        self.successResultOf(self.three.events.leave())
        self.wait(INTERVAL)
        confirmed = self.successResultOf(asked)
        self.assertEqual((confirmed.results, confirmed.missing), ({}, set()))
        self.assertNoResult(other)

    def test_nobody_to_confirm(self) -> None:
        """The event is sent anyway."""
        self.assertEqual(self.successResultOf(self.ask()).missing, set())
        self.wait(INTERVAL)
        self.assertEqual(len(self.two.asked), 1)

    def test_engine_away(self) -> None:
        """Nobody can confirm what was not sent."""
        self.one.client.fault = "away"
        confirmed = self.successResultOf(self.ask(self.two))
        self.assertEqual(confirmed.missing, {self.two.events.member_id})

    def test_too_many(self) -> None:
        self.patch(module, "MAX_OPEN", 1)
        first, second = self.ask(self.two), self.ask(self.two)
        self.assertEqual(self.successResultOf(second).results, {})
        self.wait(2 * INTERVAL)
        self.assertEqual((len(self.successResultOf(first).results), len(self.two.asked)), (1, 2))

    def test_attacker(self) -> None:
        """Someone repeats an earlier confirmation, and sends what no holder of the key has sealed."""
        self.ask(self.two)
        self.wait(2 * INTERVAL)
        stream = self.stream()
        confirmation = next(
            fields for _, fields in stream if b'"confirmed"' in (KEYS.unseal(module_name(KEYS), fields[1]) or b"")
        )
        self.two.answers = False
        asked = self.ask(self.two)
        for fields in (confirmation, [b"e", b'{"type":"confirmed"}']):
            self.engine.execute("XADD", module_name(KEYS), "*", *fields)
        self.wait(1)
        self.assertNoResult(asked)
        self.wait(1)
        self.assertEqual(self.successResultOf(asked).missing, {self.two.events.member_id})

    def test_old_event(self) -> None:
        """An event that someone repeats later is not confirmed."""
        self.ask(self.two)
        self.wait(2 * INTERVAL)
        (question,) = self.two.asked
        before = len(self.stream())
        self.two.confirmations.confirm(question, {})
        self.assertEqual(len(self.stream()), before + 1)
        self.two.events.stop()
        self.clock.advance(module.MAX_AGE)
        before = len(self.stream())
        self.two.confirmations.confirm(question, {})
        self.assertEqual(len(self.stream()), before)

    def test_confirmation_of_another_process(self) -> None:
        """A process confirms for itself only, and once."""
        self.two.answers = False
        asked = self.ask(self.two)
        self.wait(INTERVAL)
        (question,) = self.two.asked
        self.three.confirmations.confirm(question, {"text": "y"})
        self.wait(INTERVAL)
        self.assertNoResult(asked)
        for text in ("y", "z"):
            self.two.confirmations.confirm(question, {"text": text})
        self.wait(INTERVAL)
        self.assertEqual(self.successResultOf(asked).results, {self.two.events.member_id: {"text": "y"}})
