"""An authorizer and an audit sink that record what they receive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.record import ExchangeRecord

NAME: Final = "recording"


def allow(reason: str = "allowed by the test", rule_id: str | None = None) -> Decision:
    """Return a decision that allows a request."""
    return Decision(Verdict.ALLOW, reason, NAME, rule_id)


def deny(reason: str = "denied by the test", rule_id: str | None = None) -> Decision:
    """Return a decision that denies a request."""
    return Decision(Verdict.DENY, reason, NAME, rule_id)


def _allow_all(request: DecisionRequest) -> Decision:
    return allow()


@implementer(IAuthorizer)
class RecordingAuthorizer:
    """An authorizer that records the authorization requests, and decides as a test directs.

    @ivar requests: the authorization requests.
    @ivar decide_with: decides on a request: returns a L{Decision}, or a Deferred that fires with one; an exception is a
        failure of the authorizer.
    @ivar needs_body: see L{IAuthorizer}.
    @ivar is_closed: whether the proxy has closed it.

    @param decide_with: by default, every request is allowed.
    """

    name = NAME

    def __init__(
        self,
        decide_with: Callable[[DecisionRequest], Decision | Deferred[Decision]] = _allow_all,
        *,
        needs_body: bool = False,
    ) -> None:
        self.requests: list[DecisionRequest] = []
        self.decide_with = decide_with
        self.needs_body = needs_body
        self.is_closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Record the request, and decide; see L{IAuthorizer.decide}."""
        self.requests.append(request)
        decide: Callable[[DecisionRequest], Any] = self.decide_with
        decision: Deferred[Decision] = maybeDeferred(decide, request)
        return decision

    def check_ready(self) -> Deferred[None]:
        """Report that it is ready; see L{IAuthorizer.check_ready}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Record the end; see L{IAuthorizer.close}."""
        self.is_closed = True
        return succeed(None)


@implementer(IAuditSink)
class RecordingSink:
    """An audit sink that stores the records.

    @ivar records: the audit records, in the order of their exchanges' ends.
    @ivar is_closed: whether the proxy has closed it.
    """

    def __init__(self) -> None:
        self.records: list[ExchangeRecord] = []
        self.is_closed = False

    def write(self, record: ExchangeRecord) -> None:
        """Store a record; see L{IAuditSink.write}."""
        self.records.append(record)

    def close(self) -> None:
        """Record the end; see L{IAuditSink.close}."""
        self.is_closed = True
