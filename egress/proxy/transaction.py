"""The part that requests and passthrough tunnels share: authorization, the pending Deferred and the audit record."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.http.events import VERSION_NAMES
from egress.interfaces import ICharge
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
from egress.model.errors import AddressForbidden, AuthorizerUnavailable, EgressError, InternalError, outcome_of
from egress.model.phases import DECISION, READ, Mark
from egress.model.record import ExchangeRecord
from egress.model.recorded_headers import recorded_headers
from egress.model.route import NO_HOP
from egress.model.trace import ExchangeTrace
from egress.proxy.budget_count import count, observed, refused
from egress.proxy.grpc_outcome import result_of
from egress.proxy.lease import Lease, lease_for, validated_decision
from egress.proxy.message_inspector import MessageInspector, inspector_for
from egress.proxy.revocations import Cutoff, revoked
from egress.runtime.deferred_call import call_for_deferred

if TYPE_CHECKING:
    from egress.proxy.context import AuthzContext

_T = TypeVar("_T")

# CPython 3.11 calls a function of the enum module for the value of a member.
_VALUES: Final = {member: member.value for member in (*Stage, *Verdict)}

_log = Logger()


def internal_error() -> InternalError:
    """The error that the client sees for an internal error that was logged."""
    return InternalError("the proxy failed; the operator's log has the details")


class Transaction:
    """The authorization, the pending Deferred and the single record of a request or tunnel.

    @param failed: is called with each error of a pending operation; after the end, only with an L{InternalError}, which
        means that the cleanup is incomplete.
    @param http: the version of HTTP of the request; C{None} for a tunnel.
    @ivar decision: the current decision, if any.
    @ivar lease: the limits of the decision, if it has any.
    @ivar inspector: authorizes the messages of the exchange, if the decision requires it.
    @ivar headers: the header fields of the request, for the audit record.
    @ivar hop: the destination that was connected to.
    @ivar phases: the beginning of each phase so far.
    @ivar trace: the trace of the exchange, if there are traces.
    """

    __slots__ = (
        "_authorization_sent",
        "_budgets",
        "_cancelled",
        "_client",
        "_clock_started",
        "_context",
        "_decision_seconds",
        "_decision_started",
        "_failed",
        "_http",
        "_method",
        "_origin",
        "_over",
        "_path",
        "_pending",
        "_revocations",
        "_seconds",
        "_stage",
        "_started",
        "decision",
        "headers",
        "hop",
        "inspector",
        "lease",
        "phases",
        "request_id",
        "trace",
    )

    def __init__(
        self,
        context: AuthzContext,
        failed: Callable[[EgressError], None],
        *,
        client: ClientIdentity,
        stage: Stage,
        method: str,
        origin: Origin,
        path: str,
        http: bytes | None = None,
    ) -> None:
        self.request_id = context.new_id()
        self.decision: Decision | None = None
        self.lease: Lease | None = None
        self.inspector: MessageInspector | None = None
        self.headers: Headers = ()
        self.hop = NO_HOP
        self.trace: ExchangeTrace | None = None
        self._context = context
        self._client, self._stage, self._method, self._http = client, stage, method, http
        self._origin, self._path, self._failed = origin, path, failed
        self._started = context.wall_clock()
        # Called for each phase.
        self._seconds = seconds = context.clock.seconds
        self._clock_started = started = seconds()
        self.phases: list[Mark] = [(READ, started)]
        self._authorization_sent = self._over = False
        self._budgets = NO_OBLIGATIONS.budgets
        self._decision_started: float | None = None
        self._decision_seconds: float | None = None
        self._pending: Deferred[Any] | None = None
        self._cancelled: Deferred[Any] | None = None

    @property
    def url(self) -> str:
        """The requested URL."""
        return f"{self._origin}{'' if self._path == '*' else self._path}"

    def authorize(
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
        """Send an authorization request. It can be sent again with more data.

        @param headers: the fields for the authorizer.
        @param body: the content, or its beginning; C{None} if there is none, or if the authorizer does not inspect it.
        @param truncated: whether C{body} is only the beginning of the content.
        @param decided: is called with the decision. A decision asks for content or addresses only if they were
            withheld.
        @param withheld: whether there is content that was not read yet.
        @param length: the announced length of the content.
        @param addresses: the addresses of the origin's host, if known.
        @param addresses_withheld: whether the addresses are not known yet.
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
            trace=() if self.trace is None else self.trace.begin_decision(),
        )
        if self.decision is not None:
            self._reset_decision()
        self._authorization_sent = True
        # A revocation in the meantime can void the decision.
        self._revocations = self._context.revocations.count
        self._decision_started = started = self._seconds()
        self.phases.append((DECISION, started))
        then = partial(self._received_decision, request, decided, False)
        # An authorizer may raise, or return a plain value.
        self.await_or_fail(call_for_deferred(self._context.authorizer.decide, request), then)

    def _repeat(self, request: DecisionRequest, decided: Callable[[Decision], None]) -> None:
        """Send an authorization request again, because its decision was revoked before it arrived."""
        self._revocations = self._context.revocations.count
        self._decision_started = self._seconds()
        then = partial(self._received_decision, request, decided, True)
        self.await_or_fail(call_for_deferred(self._context.authorizer.decide, request), then)

    def _received_decision(
        self, request: DecisionRequest, decided: Callable[[Decision], None], repeated: bool, result: object
    ) -> None:
        # Until the result is validated, errors are attributed to the authorizer.
        decision = validated_decision(result, request)
        self._stop_timing()
        if self._revocations != self._context.revocations.count and self._void(decision):
            if repeated:
                raise revoked()
            self._repeat(request, decided)
            return
        if decision.verdict not in NEEDS:
            self.decision = decision
        elif decision.observed is not None:
            # A request that observe mode lets pass stays recorded as such, even if no further decision can be made.
            self.decision = attrs.evolve(decision, verdict=Verdict.ALLOW)
        if decision.allowed and (request.body_withheld or decision.obligations is not NO_OBLIGATIONS):
            if decision.obligations.budgets:
                self._count(request, decided, decision)
                return
            self.lease = lease_for(self._context, request, decision.obligations, self._failed)
            self.inspector = inspector_for(self._context, request, decision)
        decided(decision)

    def _count(self, request: DecisionRequest, decided: Callable[[Decision], None], decision: Decision) -> None:
        counting = count(self._context, request, decision, self._budgets).addErrback(self._not_counted, decision)
        self.await_or_fail(counting, partial(self._counted, request, decided, decision))

    def _not_counted(self, failure: Failure, decision: Decision) -> Failure:
        self.decision = refused(decision, failure.value)
        return failure

    def _counted(
        self, request: DecisionRequest, decided: Callable[[Decision], None], decision: Decision, charge: ICharge
    ) -> None:
        self._budgets = decision.obligations.budgets
        self.decision = decision = observed(decision, charge)
        self.lease = lease_for(self._context, request, decision.obligations, self._failed, charge)
        self.inspector = inspector_for(self._context, request, decision)
        decided(decision)

    def _void(self, decision: Decision) -> bool:
        """Return whether a decision was revoked before it arrived."""
        revocations, authority = self._context.revocations, self._origin.authority
        return revocations.void(self._revocations, self._client, authority, decision.rule_id, self.request_id)

    def is_revoked(self, cutoff: Cutoff) -> bool:
        """Return whether there is a decision, and a revocation voids it."""
        decision = self.decision
        if decision is None or self._revocations >= cutoff.number:
            return False
        if self.lease is not None:
            decision = self.lease.renewed or decision
        return cutoff.revocation.matches(self._client, self._origin.authority, decision.rule_id, self.request_id)

    def begin_phase(self, phase: str) -> None:
        """Begin a phase (L{egress.model.phases}), which ends the one before."""
        self.phases.append((phase, self._seconds()))

    def _stop_timing(self) -> None:
        if self._decision_started is not None:
            seconds = self._seconds() - self._decision_started
            self._decision_seconds = seconds + (self._decision_seconds or 0.0)
            self._decision_started = None

    def _reset_decision(self) -> None:
        """Discard the previous decision and its lease."""
        self.decision = self.inspector = None
        if self.lease is not None:
            self.lease.stop()
            self.lease = None

    def await_or_fail(self, waiting: Deferred[_T], then: Callable[[_T], None]) -> None:
        """Call C{then} when C{waiting} fires, unless the transaction has ended by then."""
        if waiting.called and not waiting.paused and not isinstance(waiting.result, Failure):
            # The result is available immediately, as with every decision of the embedded policy.
            self._continue(cast(_T, waiting.result), then)
            return

        # Set before the callbacks are added: they may run immediately and wait for the next operation.
        self._pending = waiting
        arrived, failed = partial(self._arrived, then), partial(self._await_failed, waiting)
        waiting.addCallbacks(arrived, failed).addErrback(self._failed_at_end)

    def _arrived(self, then: Callable[[_T], None], result: _T) -> None:
        self._pending = None
        self._continue(result, then)

    def _await_failed(self, waiting: Deferred[Any], failure: Failure) -> None:
        if self._pending is waiting:
            self._pending = None
        # The result of a cancelled operation is ignored.
        if waiting is not self._cancelled:
            self._fault(failure)

    def _continue(self, result: _T, then: Callable[[_T], None]) -> None:
        if self._over:
            return
        try:
            then(result)
        except Exception:  # noqa: BLE001 - a bug, or an error of the next step: either must end in a response
            failure = Failure()  # type: ignore[no-untyped-call]
            try:
                self._fault(failure)
            except Exception:  # noqa: BLE001
                self._failed_at_end(Failure())  # type: ignore[no-untyped-call]

    def _fault(self, failure: Failure) -> None:
        error = failure.value
        if self._over:
            self._failed_at_end(failure)
            return
        if not isinstance(error, EgressError):
            if not isinstance(error, CancelledError):
                _log.failure("request {request_id} failed", failure=failure, request_id=self.request_id)
            if self._decision_started is not None:
                error = AuthorizerUnavailable("the authorizer failed; the operator's log has the details")
            else:
                error = internal_error()
        self._failed(error)

    def _failed_at_end(self, failure: Failure) -> None:
        """Handle an error in the cleanup: notify the owner, so that no client waits forever."""
        _log.failure("ending request {request_id} failed", failure=failure, request_id=self.request_id)
        self._failed(internal_error())

    def report(
        self,
        result: EgressError | None,
        status: int | None,
        sent: int,
        received: int,
        response: Headers = (),
        *,
        trailers: Headers = (),
    ) -> None:
        """End the transaction: cancel the pending operation and write the audit record.

        @param result: the error; C{None} if the request was forwarded.
        @param status: the status code that the client received.
        @param sent: content bytes to the origin.
        @param received: content bytes to the client.
        @param response: the header fields of the origin's response.
        @param trailers: its trailers.
        """
        self._over = True
        self._stop_timing()
        if self.lease is not None:
            self.lease.stop()
        self._cancelled, self._pending = self._pending, None
        if self._cancelled is not None:
            self._cancelled.cancel()
        decision = self.decision
        if decision is not None and decision.observed is None and self.lease is not None:
            # Observe mode: only the lease knows that it would have ended the exchange.
            decision = self.lease.observed or decision
        outcome = outcome_of(result) if result is not None else None
        rule_id = observed = source = None
        if decision is not None and not isinstance(result, AddressForbidden):
            verdict, decided_by = _VALUES[decision.verdict], decision.decided_by
            rule_id, observed, source = decision.rule_id, decision.observed, decision.source
        else:
            verdict = outcome.verdict if outcome is not None else "failed"
            # The address guard can refuse a request that the authorizer allowed.
            by_guard = isinstance(result, AddressForbidden)
            decided_by = self._context.authorizer.name if self._authorization_sent and not by_guard else "proxy"
        has_headers = self._context.headers.cover(verdict, observed)
        self._context.report(
            ExchangeRecord(
                time=self._started,
                request_id=self.request_id,
                client=self._client,
                stage=_VALUES[self._stage],
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
                duration=self._seconds() - self._clock_started,
                address=self.hop.address,
                upstream=self.hop.upstream,
                observed=observed,
                source=source,
                phases=self.phases,
                request_headers=recorded_headers(self.headers) if has_headers else None,
                response_headers=recorded_headers(response) if has_headers else None,
                trace=self.trace,
                grpc=None
                if self._method != "POST"
                else result_of(self._method, self._path, self.headers, result, response + trailers),
                client_http=None if self._http is None else VERSION_NAMES[self._http],
                origin_http=self.hop.http,
                # Also of a request that the address guard refused after the decision.
                policy_version=None if decision is None else decision.policy_version,
            )
        )
