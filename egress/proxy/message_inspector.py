"""The authorization of the messages of one exchange, and the records of messages that are not forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.messages.splitter import Piece
from egress.model.decision import Decision, DecisionRequest, Headers, Stage
from egress.model.errors import AuthorizerUnavailable, EgressError, MessageDenied, outcome_of
from egress.model.message import Direction, Message, MessageKind, MessageObligation, message_headers
from egress.model.record import ExchangeRecord
from egress.proxy.lease import validated_decision
from egress.runtime.deferred_call import call_for_deferred

if TYPE_CHECKING:
    from egress.proxy.context import AuthzContext

_log = Logger()

# The body limit applies.
_UNLIMITED: Final = 2**62
_FAILED: Final = "the authorizer failed; the operator's log has the details"


class MessageInspector:
    """Authorizes messages.

    @param context: the collaborators for authorization and audit.
    @param request: the request that was allowed.
    @param decision: the decision, which requires that messages are authorized.
    @param terms: the messages to authorize.
    @ivar terms: the messages to authorize.
    @ivar client: the client's key for per-client limits.
    """

    def __init__(
        self, context: AuthzContext, request: DecisionRequest, decision: Decision, terms: MessageObligation
    ) -> None:
        self.terms = terms
        self.client = request.client.limit_key
        self._context = context
        self._rule_id = decision.rule_id
        # Without the content of the request, which may be large.
        self._request = attrs.evolve(request, body=None)
        self._headers: dict[MessageKind, Headers] = {}

    @property
    def request_id(self) -> str:
        """The id of the exchange."""
        return self._request.request_id

    @property
    def timeout(self) -> float:
        """The timeout of one decision in seconds; the authorizer has a shorter one."""
        return self._context.renewal_timeout

    def request(self, piece: Piece, kind: MessageKind, direction: Direction, sequence: int) -> DecisionRequest:
        """Make the authorization request of a message."""
        assert piece.type is not None
        base, content = self._request, piece.content
        headers = self._headers.get(kind)
        if headers is None:
            headers = self._headers[kind] = message_headers(base.headers, kind)
        return DecisionRequest(
            request_id=base.request_id,
            stage=Stage.MESSAGE,
            method=base.method,
            origin=base.origin,
            path=base.path,
            headers=headers,
            client=base.client,
            body=content,
            content_length=len(content),
            addresses=base.addresses,
            trace=base.trace,
            message=Message(kind, direction, piece.type, sequence, self._rule_id),
        )

    def authorize(self, request: DecisionRequest) -> Deferred[Decision]:
        """Authorize one message.

        @return: fires with a decision that allows or denies; fails with an L{EgressError}.
        """
        revocations = self._context.revocations.count
        # An authorizer may raise, or return a plain value.
        call: Deferred[Any] = call_for_deferred(self._context.authorizer.decide, request)
        if call.called and not call.paused and _is_sound(call.result, request):
            # The usual case with the embedded policy.
            return call
        return call.addCallback(self._received, request, revocations).addErrback(_as_egress_error)

    def _received(self, result: object, request: DecisionRequest, since: int) -> Any:
        decision, revocations = validated_decision(result, request), self._context.revocations
        if since != revocations.count:
            client, authority = request.client, request.origin.authority
            if revocations.void(since, client, authority, decision.rule_id, request.request_id):
                # Within the same timeout.
                return self.authorize(request)
        return decision

    def forwarded(self, request: DecisionRequest, decision: Decision) -> None:
        """Count a message that is forwarded; record it if only observe mode allows it."""
        message = request.message
        assert message is not None
        self._context.message_counts.add("allow", message.kind, message.direction)
        if decision.observed is not None:
            self._report(request, message, decision, None)

    def refused(self, request: DecisionRequest, decision: Decision | None, error: EgressError) -> None:
        """Count and record a message that is not forwarded.

        @param request: the authorization request.
        @param decision: the decision, if there is one.
        @param error: the reason.
        """
        message = request.message
        assert message is not None
        verdict = "deny" if isinstance(error, MessageDenied) else "unavailable"
        self._context.message_counts.add(verdict, message.kind, message.direction)
        self._report(request, message, decision, error)

    def rejected(self, kind: MessageKind, direction: Direction) -> None:
        """Count a message that cannot be authorized; the record of the exchange has the reason."""
        self._context.message_counts.add("rejected", kind, direction)

    def _report(
        self, request: DecisionRequest, message: Message, decision: Decision | None, error: EgressError | None
    ) -> None:
        outcome = None if error is None else outcome_of(error)
        size = request.content_length or 0
        sent = error is None and message.direction is Direction.CLIENT
        received = error is None and message.direction is Direction.ORIGIN
        self._context.report(
            ExchangeRecord(
                time=self._context.wall_clock(),
                request_id=request.record_id,
                client=request.client,
                stage=Stage.MESSAGE.value,
                method=request.method,
                url=request.url,
                verdict="allow" if outcome is None else outcome.verdict,
                outcome="forwarded" if outcome is None else outcome.code,
                reason=error.reason if error is not None else decision.reason if decision is not None else "",
                decided_by=self._context.authorizer.name if decision is None else decision.decided_by,
                rule_id=None if decision is None else decision.rule_id,
                decision_seconds=None,
                status=None,
                bytes_sent=size if sent else 0,
                bytes_received=size if received else 0,
                duration=0.0,
                address=None,
                upstream=None,
                observed=None if decision is None else decision.observed,
                source=None if decision is None else decision.source,
                phases=(),
                request_headers=None,
                response_headers=None,
                grpc=None,
                client_http=None,
                origin_http=None,
                policy_version=None if decision is None else decision.policy_version,
                trace=None,
            )
        )


def inspector_for(context: AuthzContext, request: DecisionRequest, decision: Decision) -> MessageInspector | None:
    """Create an inspector if the decision on a request requires that messages are authorized.

    An authorizer that needs all content also reads each message of a client whose content could not be collected,
    because it has no end before the call is forwarded (L{egress.proxy.grpc_streams.may_stream}).
    """
    terms = decision.obligations.messages
    if request.body_withheld and context.authorizer.needs_body:
        directions = frozenset({Direction.CLIENT})
        if terms is None:
            terms = MessageObligation(directions, max_size=_UNLIMITED)
        else:
            terms = attrs.evolve(terms, directions=terms.directions | directions)
    return None if terms is None else MessageInspector(context, request, decision, terms)


def _is_sound(result: object, request: DecisionRequest) -> bool:
    """Whether the result of an authorizer is a valid decision."""
    try:
        validated_decision(result, request)
    except AuthorizerUnavailable:
        return False
    return True


def _as_egress_error(failure: Failure) -> Failure:
    if isinstance(failure.value, EgressError):
        return failure
    if not isinstance(failure.value, CancelledError):
        _log.failure("authorizing a message failed", failure=failure)
    return Failure(AuthorizerUnavailable(_FAILED))  # type: ignore[no-untyped-call]
