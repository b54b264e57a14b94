"""How far an allowed exchange or tunnel may go: so many bytes, and for so long."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.http.obligations import validate
from egress.model.authority import IPAddress
from egress.model.decision import NEEDS, NO_OBLIGATIONS, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.errors import (
    AuthorizerUnavailable,
    EgressError,
    LeaseExpired,
    LeaseRevoked,
    LimitReached,
)

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

_log = Logger()

_FINAL: Final = frozenset({Verdict.ALLOW, Verdict.DENY})


def validated_decision(decision: object, question: DecisionRequest) -> Decision:
    """Take nothing but a complete decision from an authorizer, which somebody else may have written.

    @raise AuthorizerUnavailable: when it is none, or cannot be kept to.
    """
    if not (
        isinstance(decision, Decision) and isinstance(decision.reason, str) and isinstance(decision.decided_by, str)
    ):
        raise AuthorizerUnavailable("the authorizer gave an answer that is no decision")
    if decision.verdict not in _FINAL:
        if decision.verdict not in NEEDS:
            raise AuthorizerUnavailable("the authorizer gave an answer that is no decision")
        if decision.verdict is Verdict.NEED_BODY and not question.body_withheld:
            raise AuthorizerUnavailable("the authorizer asked for content where none was withheld")
        if decision.verdict is Verdict.NEED_ADDRESSES and not question.addresses_withheld:
            raise AuthorizerUnavailable("the authorizer asked for addresses where none were withheld")
    terms: Obligations = decision.obligations
    if terms is not NO_OBLIGATIONS and decision.allowed:
        fault = validate(terms)
        if fault is None and question.stage is Stage.TUNNEL and (terms.set_headers or terms.remove_headers):
            fault = "fields to set or remove for a tunnel, in which nothing is read"
        if fault is not None:
            raise AuthorizerUnavailable(f"the authorizer's decision has {fault}")
    return decision


class Lease:
    """Keeps an exchange or a tunnel within the terms of its decision; there is one only where they have bounds.

    When its time is over, the question is put again: what flows meanwhile flows on, and goes on if it is allowed again,
    within the new terms.  Otherwise it is cut.

    @param question: what was decided on.
    @param failed: is told the end, at most once, and not after L{stop}.
    @ivar used: content bytes that have flowed, both directions added up, whatever permission they flowed under.
    @ivar observed: the first later decision by which it would have been cut, if it were not only observed.
    @ivar leads_to: the addresses of the origin, once they are known.
    """

    __slots__ = ("_asked", "_failed", "_most", "_over", "_parts", "_question", "_timer", "leads_to", "observed", "used")

    def __init__(
        self, parts: ProxyContext, question: DecisionRequest, terms: Obligations, failed: Callable[[EgressError], None]
    ) -> None:
        self.used = 0
        self.observed: Decision | None = None
        self.leads_to: tuple[IPAddress, ...] | None = None
        self._parts = parts
        self._question = question
        self._failed = failed
        self._over = False
        self._asked: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._hold(terms)

    def _hold(self, terms: Obligations) -> None:
        self._most = terms.max_bytes
        if terms.expires_in is not None:
            self._timer = self._parts.clock.callLater(terms.expires_in, self._expired)

    # -- bytes

    @property
    def left(self) -> int | None:
        """How many more bytes may flow; C{None}: any number."""
        return None if self._most is None else self._most - self.used

    def has_budget(self, count: int) -> bool:
        """Say whether so many bytes more may flow.  If not, that is the end."""
        if self._over:
            return False
        most = self._most
        if most is None or self.used + count <= most:
            return True
        self._fail(LimitReached(f"more content than the {most} bytes that are allowed"))
        return False

    def consume(self, count: int) -> bool:
        """Count bytes that are about to flow.

        @return: whether they may.  If not, that is the end.
        """
        if not self.has_budget(count):
            return False
        self.used += count
        return True

    # -- time

    def _expired(self) -> None:
        self._timer = self._parts.clock.callLater(self._parts.renewal_timeout, self._unanswered)
        self._ask()

    def _ask(self) -> None:
        self._asked = asked = maybeDeferred(self._parts.authorizer.decide, self._question)
        asked.addCallbacks(self._answered, self._broken).addErrback(self._defect)

    def _answered(self, answer: object) -> None:
        if self._over:
            return
        try:
            decision = validated_decision(answer, self._question)
        except AuthorizerUnavailable as error:
            self._fail(_expired(error.reason))
            return
        if decision.verdict is Verdict.NEED_ADDRESSES and self.leads_to is not None:
            # Within the same time; it cannot want them again.
            self._question = attrs.evolve(self._question, addresses=self.leads_to, addresses_withheld=False)
            self._ask()
            return
        self._put_down()
        if decision.verdict is Verdict.NEED_BODY:
            self._fail(_expired("the authorizer asked for content that has been passed on"))
        elif decision.verdict is Verdict.NEED_ADDRESSES:
            self._fail(_expired("the authorizer asked for addresses that are not known yet"))
        elif not decision.allowed:
            self._fail(LeaseRevoked(decision.reason))
        else:
            if decision.observed is not None and self.observed is None:
                self.observed = decision
            self._hold(decision.obligations)
            # What has flowed already may be more than is allowed now.
            self.has_budget(0)

    def _broken(self, failure: Failure) -> None:
        if self._over:
            return
        error = failure.value
        if isinstance(error, EgressError):
            self._fail(_expired(error.reason))
            return
        if not isinstance(error, CancelledError):
            _log.failure("{id} was not renewed", failure=failure, id=self._question.request_id)
        self._fail(_expired("the authorizer failed"))

    def _defect(self, failure: Failure) -> None:
        _log.failure("{id} failed at its end", failure=failure, id=self._question.request_id)

    def _unanswered(self) -> None:
        self._timer = None
        self._fail(_expired(f"the authorizer did not decide within {self._parts.renewal_timeout:g} s"))

    # -- the end

    def _put_down(self) -> None:
        self._asked = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _fail(self, error: EgressError) -> None:
        self.stop()
        self._failed(error)

    def stop(self) -> None:
        """Nothing more is counted, asked or told."""
        self._over = True
        asked = self._asked
        self._put_down()
        if asked is not None:
            asked.cancel()


def _expired(why: str) -> LeaseExpired:
    return LeaseExpired(f"the permission ran out, and there was no decision on more: {why}")


def lease_for(
    parts: ProxyContext, question: DecisionRequest, terms: Obligations, failed: Callable[[EgressError], None]
) -> Lease | None:
    """Make a lease, if the terms have bounds."""
    if terms.max_bytes is None and terms.expires_in is None:
        return None
    return Lease(parts, question, terms, failed)
