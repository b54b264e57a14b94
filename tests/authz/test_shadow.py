"""Tests for L{egress.authz.shadow}."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.authz.shadow import MAX_CONCURRENCY, ShadowedAuthorizer
from egress.interfaces import IAuthorizer, IShadowSink
from egress.model.comparison import ShadowComparison, ShadowResult
from egress.model.decision import NEEDS, Decision, DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.message import Direction, Message, MessageKind
from tests.authz.fakes import ALLOW, DENY, REQUEST, Scripted


@implementer(IShadowSink)
class Sink:
    """Collects the comparisons."""

    def __init__(self) -> None:
        self.told: list[ShadowComparison] = []
        self.closed = 0

    def write(self, comparison: ShadowComparison) -> None:
        self.told.append(comparison)

    def close(self) -> None:
        self.closed += 1


class ShadowTests(SynchronousTestCase):
    """The shadow authorizer is called, and has no effect."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sink = Sink()
        self.asked: list[Deferred[Decision]] = []

    def make(self, first: Callable[[], Any], second: Callable[[], Any]) -> ShadowedAuthorizer:
        self.first, self.second = Scripted(first), Scripted(second)
        return ShadowedAuthorizer(self.clock, self.first, self.second, self.sink)

    def slow(self) -> Deferred[Decision]:
        asked: Deferred[Decision] = Deferred()
        self.asked.append(asked)
        return asked

    def agreements(self) -> list[ShadowResult]:
        return [comparison.result for comparison in self.sink.told]

    def test_interface(self) -> None:
        shadowed = self.make(lambda: succeed(ALLOW), lambda: succeed(DENY))
        verifyObject(IAuthorizer, shadowed)
        self.assertEqual((shadowed.name, shadowed.needs_body), ("scripted", True))

    def test_called_later(self) -> None:
        """The shadow authorizer is called after the decision, in a later turn of the reactor."""
        shadowed = self.make(lambda: succeed(ALLOW), lambda: (self.slow(), succeed(DENY))[1])
        self.assertIs(self.successResultOf(shadowed.decide(REQUEST)), ALLOW)
        self.assertEqual(self.asked, [])
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 1)
        self.assertEqual(self.sink.told, [ShadowComparison(REQUEST, ALLOW, DENY, ShadowResult.STRICTER)])

    def test_every_result_of_the_shadow(self) -> None:
        def raising() -> None:
            raise RuntimeError("a defect")

        for second, agreement in (
            (lambda: succeed(ALLOW), ShadowResult.SAME),
            (lambda: succeed(attrs.evolve(ALLOW, verdict=Verdict.NEED_BODY)), ShadowResult.UNDECIDED),
            (lambda: succeed(attrs.evolve(ALLOW, verdict=Verdict.NEED_ADDRESSES)), ShadowResult.UNDECIDED),
            (lambda: fail(AuthorizerUnavailable("down")), ShadowResult.UNAVAILABLE),
            (lambda: "nonsense", ShadowResult.UNAVAILABLE),
            (raising, ShadowResult.UNAVAILABLE),
        ):
            self.sink.told.clear()
            self.assertIs(self.successResultOf(self.make(lambda: succeed(ALLOW), second).decide(REQUEST)), ALLOW)
            self.clock.advance(0)
            self.assertEqual(self.agreements(), [agreement])

    def test_nothing_to_compare(self) -> None:
        """The first authorizer made no decision, or needs more of the request."""
        for verdict in NEEDS:
            more = attrs.evolve(ALLOW, verdict=verdict)
            self.assertIs(self.successResultOf(self.make(partial(succeed, more), self.slow).decide(REQUEST)), more)
        down = self.make(lambda: fail(AuthorizerUnavailable("down")), self.slow)
        self.failureResultOf(down.decide(REQUEST), AuthorizerUnavailable)
        self.clock.advance(0)
        self.assertEqual((self.asked, self.sink.told), ([], []))

    def test_messages_are_not_compared(self) -> None:
        message = Message(MessageKind.SSE, Direction.ORIGIN, "add", 1)
        shadowed = self.make(lambda: succeed(ALLOW), self.slow)
        self.assertIs(self.successResultOf(shadowed.decide(attrs.evolve(REQUEST, message=message))), ALLOW)
        self.clock.advance(0)
        self.assertEqual((self.asked, self.sink.told), ([], []))

    def test_withheld_addresses_in_observe_mode(self) -> None:
        """If a decision is repeated, only the second one is compared."""
        asked = attrs.evolve(REQUEST, addresses_withheld=True)
        firm = attrs.evolve(DENY, enforce_in_observe=True)
        for observing, decision, compared in (
            (True, DENY, 0),
            (True, firm, 1),
            (True, ALLOW, 1),
            (False, DENY, 1),
        ):
            with self.subTest(observing=observing, decision=decision):
                self.sink.told.clear()
                first, second = Scripted(partial(succeed, decision)), Scripted(lambda: succeed(ALLOW))
                shadowed = ShadowedAuthorizer(self.clock, first, second, self.sink, observing)
                for request, expected in ((asked, compared), (REQUEST, compared + 1)):
                    self.assertIs(self.successResultOf(shadowed.decide(request)), decision)
                    self.clock.advance(0)
                    self.assertEqual(len(self.sink.told), expected)

    def test_queue_is_bounded(self) -> None:
        """Beyond the concurrency limit and the queue, comparisons are skipped; results free capacity."""
        shadowed = self.make(lambda: succeed(ALLOW), self.slow)
        for _ in range(MAX_CONCURRENCY):
            shadowed.decide(REQUEST)
        self.clock.advance(0)
        for _ in range(300):
            shadowed.decide(REQUEST)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), MAX_CONCURRENCY)
        skipped = 300 - 256
        self.assertEqual(self.agreements(), [ShadowResult.SKIPPED] * skipped)
        self.asked[0].callback(ALLOW)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), MAX_CONCURRENCY + 1)
        for asked in self.asked[1:]:
            asked.callback(ALLOW)
        while len(self.asked) < MAX_CONCURRENCY + 256:
            before = len(self.asked)
            self.clock.advance(0)
            self.assertLessEqual(len(self.asked) - before, 32, "clients have a turn between")
            for asked in self.asked[before:]:
                asked.callback(ALLOW)
        self.assertEqual(self.agreements().count(ShadowResult.SAME), MAX_CONCURRENCY + 256)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_queued_content_is_bounded(self) -> None:
        """The content of a request is released with its shadow decision."""
        request: DecisionRequest = attrs.evolve(REQUEST, body=bytes(10 * 1024 * 1024))
        shadowed = self.make(lambda: succeed(ALLOW), self.slow)
        for _ in range(2):
            shadowed.decide(request)
            self.clock.advance(0)
        self.assertEqual(self.agreements(), [ShadowResult.SKIPPED])
        self.asked[0].callback(ALLOW)
        shadowed.decide(request)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 2)

    def test_close(self) -> None:
        """Calls in progress are cancelled, the queue is cleared, and no more comparisons are written."""
        shadowed = self.make(lambda: succeed(ALLOW), self.slow)
        shadowed.decide(REQUEST)
        self.clock.advance(0)
        for _ in range(3):
            shadowed.decide(REQUEST)
        closing = self.make_closing(shadowed)
        self.successResultOf(closing)
        self.assertTrue(self.asked[0].called)
        self.first.behaviour = lambda: succeed(ALLOW)
        self.assertIs(self.successResultOf(shadowed.decide(REQUEST)), ALLOW)
        self.clock.advance(1)
        self.assertEqual((len(self.asked), self.sink.told, self.sink.closed), (1, [], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make_closing(self, shadowed: ShadowedAuthorizer) -> Deferred[None]:
        # The method close() of both scripted authorizers has the same result as decide().
        self.second.behaviour = lambda: fail(RuntimeError("it fails at the end, too"))
        self.first.behaviour = lambda: succeed(None)
        return shadowed.close()
