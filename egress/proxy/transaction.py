"""What a request and a passthrough tunnel have in common: a question, what is waited for meanwhile, and one record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.model.authority import IPAddress, Origin
from egress.model.decision import (
    NEEDS,
    NO_OBLIGATIONS,
    ClientIdentity,
    Decision,
    DecisionRequest,
    Headers,
    Stage,
    Verdict,
)
from egress.model.errors import AddressForbidden, AuthorizerUnavailable, EgressError, InternalFault, outcome_of
from egress.model.record import ExchangeRecord
from egress.model.route import NO_HOP
from egress.proxy.lease import Lease, lease_for, validated_decision

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

_T = TypeVar("_T")

_log = Logger()


def internal_fault() -> InternalFault:
    """What the client learns of a defect that was logged."""
    return InternalFault("the proxy failed; the operator's log has the details")


class Transaction:
    """Asks the authorizer, owns the Deferred that is being waited for, and reports once.

    @param failed: takes every fault of what is waited for; after the end, an L{InternalFault} alone: something of what
        belongs to the end was not done.
    @ivar decision: the answer, once there is one.
    @ivar lease: how far it goes, where the answer has bounds.
    @ivar hop: where it went, once it did.
    """

    __slots__ = (
        "_asked",
        "_asked_at",
        "_client",
        "_clock_started",
        "_decision_seconds",
        "_failed",
        "_given_up",
        "_method",
        "_origin",
        "_over",
        "_parts",
        "_path",
        "_pending",
        "_stage",
        "_started",
        "decision",
        "hop",
        "lease",
        "request_id",
    )

    def __init__(
        self,
        parts: ProxyContext,
        client: ClientIdentity,
        stage: Stage,
        method: str,
        origin: Origin,
        path: str,
        failed: Callable[[EgressError], None],
    ) -> None:
        self.request_id = parts.new_id()
        self.decision: Decision | None = None
        self.lease: Lease | None = None
        self.hop = NO_HOP
        self._parts = parts
        self._client = client
        self._stage = stage
        self._method = method
        self._origin = origin
        self._path = path
        self._failed = failed
        self._started = parts.wall_clock()
        self._clock_started = parts.clock.seconds()
        self._asked = False
        self._asked_at: float | None = None
        self._decision_seconds: float | None = None
        self._pending: Deferred[Any] | None = None
        self._given_up: Deferred[Any] | None = None
        self._over = False

    @property
    def url(self) -> str:
        """What was asked for."""
        return f"{self._origin}{'' if self._path == '*' else self._path}"

    def ask(
        self,
        headers: Headers,
        body: bytes | None,
        truncated: bool,
        decided: Callable[[Decision], None],
        *,
        withheld: bool = False,
        length: int | None = 0,
        addresses: tuple[IPAddress, ...] | None = None,
        addresses_withheld: bool = False,
    ) -> None:
        """Put the question; it may be put again, with more.

        @param decided: takes the decision, whatever it is; one that asks for content or addresses only where these are
            withheld.
        @param withheld: whether there is content that was not read yet.
        @param length: of the content, as announced.
        @param addresses: what the origin's host leads to, where that is known.
        @param addresses_withheld: whether they are not known yet.
        """
        request = DecisionRequest(
            request_id=self.request_id,
            stage=self._stage,
            method=self._method,
            origin=self._origin,
            path=self._path,
            headers=headers,
            client=self._client,
            body=body,
            body_truncated=truncated,
            body_withheld=withheld,
            content_length=length,
            addresses=addresses,
            addresses_withheld=addresses_withheld,
        )
        if self.decision is not None:
            self._let_go()
        self._asked = True
        self._asked_at = self._parts.clock.seconds()

        def answered(decision: object) -> None:
            # Until it is known to be one, what goes wrong is the authorizer's fault.
            answer = validated_decision(decision, request)
            self._stop_the_clock()
            if answer.verdict not in NEEDS:
                self.decision = answer
            elif answer.observed is not None:
                # What observe mode lets pass remains on record, also if nothing more can be found out.
                self.decision = attrs.evolve(answer, verdict=Verdict.ALLOW)
            if answer.obligations is not NO_OBLIGATIONS and answer.allowed:
                self.lease = lease_for(self._parts, request, answer.obligations, self._failed)
            decided(answer)

        # An authorizer that raises, or answers without a Deferred, has answered all the same.
        self.await_or_fail(maybeDeferred(self._parts.authorizer.decide, request), answered)

    def _stop_the_clock(self) -> None:
        if self._asked_at is not None:
            seconds = self._parts.clock.seconds() - self._asked_at
            self._decision_seconds = seconds + (self._decision_seconds or 0.0)
            self._asked_at = None

    def _let_go(self) -> None:
        """What was decided before holds no more."""
        self.decision = None
        if self.lease is not None:
            self.lease.stop()
            self.lease = None

    def await_or_fail(self, waiting: Deferred[_T], then: Callable[[_T], None]) -> None:
        """Go on with C{then} when C{waiting} fires, unless the transaction is over by then."""

        if waiting.called and not waiting.paused and not isinstance(waiting.result, Failure):
            # It is there already, as a decision of the embedded policy always is.
            self._go_on(cast(_T, waiting.result), then)
            return

        def failed(failure: Failure) -> None:
            if self._pending is waiting:
                self._pending = None
            # However something ends that was given up, it is of no interest.
            if waiting is not self._given_up:
                self._fault(failure)

        def arrived(result: _T) -> None:
            self._pending = None
            self._go_on(result, then)

        # Noted before the callbacks are added: they may run at once and wait for the next thing.
        self._pending = waiting
        waiting.addCallbacks(arrived, failed).addErrback(self._defect)

    def _go_on(self, result: _T, then: Callable[[_T], None]) -> None:
        if self._over:
            return
        try:
            then(result)
        except Exception:  # noqa: BLE001 - a defect, or what the next step is refused for: no way out but an answer
            failure = Failure()  # type: ignore[no-untyped-call]
            try:
                self._fault(failure)
            except Exception:  # noqa: BLE001
                self._defect(Failure())  # type: ignore[no-untyped-call]

    def _fault(self, failure: Failure) -> None:
        error = failure.value
        if self._over:
            self._defect(failure)
            return
        if not isinstance(error, EgressError):
            if not isinstance(error, CancelledError):
                _log.failure("{request_id} failed", failure=failure, request_id=self.request_id)
            if self._asked_at is not None:
                error = AuthorizerUnavailable("the authorizer failed; the operator's log has the details")
            else:
                error = internal_fault()
        self._failed(error)

    def _defect(self, failure: Failure) -> None:
        """Ending it broke: whoever has a connection open is told, so that nobody waits for ever."""
        _log.failure("{request_id} failed at its end", failure=failure, request_id=self.request_id)
        self._failed(internal_fault())

    def report(self, result: EgressError | None, status: int | None, sent: int, received: int) -> None:
        """End: nothing is waited for any more, and the one record is written.

        @param result: the fault; C{None} when it was forwarded.
        @param status: what the client got.
        """
        self._over = True
        self._stop_the_clock()
        if self.lease is not None:
            self.lease.stop()
        self._given_up, self._pending = self._pending, None
        if self._given_up is not None:
            self._given_up.cancel()
        decision = self.decision
        if decision is not None and decision.observed is None and self.lease is not None:
            # What would have been cut is not what the first answer says.
            decision = self.lease.observed or decision
        outcome = outcome_of(result) if result is not None else None
        rule_id = observed = source = None
        if decision is not None and not isinstance(result, AddressForbidden):
            verdict, decided_by = decision.verdict.value, decision.decided_by
            rule_id, observed, source = decision.rule_id, decision.observed, decision.source
        else:
            verdict = outcome.verdict if outcome is not None else "failed"
            # The address guard refuses also what was allowed.
            by_guard = isinstance(result, AddressForbidden)
            decided_by = self._parts.authorizer.name if self._asked and not by_guard else "proxy"
        self._parts.report(
            ExchangeRecord(
                time=self._started,
                request_id=self.request_id,
                client=self._client,
                stage=self._stage.value,
                method=self._method,
                url=self.url,
                verdict=verdict,
                outcome=outcome.code if outcome is not None else "forwarded",
                reason=result.reason if result is not None else (decision.reason if decision is not None else ""),
                decided_by=decided_by,
                rule_id=rule_id,
                decision_seconds=self._decision_seconds,
                status=status,
                bytes_sent=sent,
                bytes_received=received,
                duration=self._parts.clock.seconds() - self._clock_started,
                address=self.hop.address,
                upstream=self.hop.upstream,
                observed=observed,
                source=source,
            )
        )


def report_refusal(parts: ProxyContext, client: ClientIdentity, error: EgressError, method: str, url: str) -> str:
    """Put on record what was refused before anything could be asked about it.

    @return: the id under which it is.
    """
    outcome = outcome_of(error)
    request_id = parts.new_id()
    parts.report(
        ExchangeRecord(
            time=parts.wall_clock(),
            request_id=request_id,
            client=client,
            stage=Stage.REQUEST.value,
            method=method,
            url=url,
            verdict=outcome.verdict,
            outcome=outcome.code,
            reason=error.reason,
            decided_by="proxy",
            rule_id=None,
            decision_seconds=None,
            status=outcome.status.value if outcome.status is not None else None,
            bytes_sent=0,
            bytes_received=0,
            duration=0.0,
            address=None,
            upstream=None,
            observed=None,
            source=None,
        )
    )
    return request_id
