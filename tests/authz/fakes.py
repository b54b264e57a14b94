"""Authorizers that a test controls, a request, and decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict

ALLOW = Decision(Verdict.ALLOW, "yes", "x")
DENY = Decision(Verdict.DENY, "no", "x")
REQUEST = DecisionRequest(
    "1", Stage.REQUEST, "GET", Origin("http", Authority("a.test", 80)), "/", (), ClientIdentity("192.0.2.1", 1)
)


@implementer(IAuthorizer)
class Scripted:
    """An authorizer that behaves as a test directs."""

    name = "scripted"
    needs_body = True

    def __init__(self, behaviour: Callable[[], Any]) -> None:
        self.behaviour = behaviour

    def decide(self, request: DecisionRequest) -> Any:
        return self.behaviour()

    def check_ready(self) -> Any:
        return self.behaviour()

    def close(self) -> Any:
        return self.behaviour()


@implementer(IAuthorizer)
class ManualAuthorizer:
    """An authorizer whose decisions a test completes.

    @ivar asked: the requests, with the Deferreds of their decisions.
    @ivar at_once: the result of the next requests, without waiting: a decision or an exception.
    @ivar cancelled: the number of cancelled requests.
    """

    name = "manual"
    needs_body = True

    def __init__(self) -> None:
        self.asked: list[tuple[DecisionRequest, Deferred[Any]]] = []
        self.at_once: Any = None
        self.cancelled = 0
        self.closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        decision: Deferred[Decision] = Deferred(self._cancel)
        self.asked.append((request, decision))
        if isinstance(self.at_once, Exception):
            decision.errback(self.at_once)
        elif self.at_once is not None:
            decision.callback(self.at_once)
        return decision

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def check_ready(self) -> Deferred[None]:
        return succeed(None)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


@implementer(IAuthorizer)
class FixedAuthorizer:
    """An authorizer with one result for every request.

    @param answer: a decision, or a Deferred.
    """

    name = "fake"
    needs_body = False

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[DecisionRequest] = []
        self.closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        self.asked.append(request)
        answer: Deferred[Decision] = self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)
        return answer

    def check_ready(self) -> Deferred[None]:
        return succeed(None)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)
