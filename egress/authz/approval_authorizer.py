"""The authorizer that lets requests wait for an approver."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.defer import Deferred, succeed

from egress.authz.approvals import Approvals
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.request_preview import MAX_SHOWN

# The requests whose content is collected for an approver, of which the decision is remembered.
_MAX_COLLECTING: Final = 256

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_ASK: Final = Verdict.ASK


class ApprovalAuthorizer(Wrapper):
    """Calls an authorizer, and waits for an approver where the decision requires an approval.

    The approver sees content of a moderate length: the proxy collects it, and then calls L{decide} again.  The decision
    does not depend on the content, which the authorizer would have requested otherwise, so it is not queried again.

    @param authorizer: decides first.
    @param approvals: the pending requests.
    @param max_collecting: the maximum number of requests whose content the proxy collects for an approver.
    """

    def __init__(self, authorizer: IAuthorizer, approvals: Approvals, *, max_collecting: int = _MAX_COLLECTING) -> None:
        super().__init__(authorizer)
        self._approvals = approvals
        self._max_collecting = max_collecting
        # The requests whose content the proxy collects now, with the decision that requires the approval.
        self._collecting: OrderedDict[str, tuple[DecisionRequest, Decision]] = OrderedDict()

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request; see L{IAuthorizer.decide}."""
        if self._collecting and not request.body_withheld:
            before, decision = self._collecting.pop(request.request_id, (None, None))
            if decision is not None and _is_same(before, request):
                return self._approvals.enqueue(request, decision)
        call = self._authorizer.decide(request)
        if call.called and not call.paused and isinstance(call.result, Decision):
            # The usual case with the embedded policy.
            return call if call.result.verdict is not _ASK else self._enqueue(call.result, request)
        return call.addCallback(self._decided, request)

    def _decided(self, decision: Decision, request: DecisionRequest) -> Decision | Deferred[Decision]:
        return decision if decision.verdict is not _ASK else self._enqueue(decision, request)

    def _enqueue(self, decision: Decision, request: DecisionRequest) -> Deferred[Decision]:
        if _needs_content(request) and self._approvals.resolve_without_approver(request, decision) is None:
            reason = "an approver needs the content"
            self._collecting[request.request_id] = request, decision
            if len(self._collecting) > self._max_collecting:
                # Its client has probably disconnected; otherwise, the authorizer is queried again.
                self._collecting.popitem(last=False)
            return succeed(Decision(Verdict.NEED_BODY, reason, decision.decided_by, decision.rule_id))
        return self._approvals.enqueue(request, decision)

    def close(self) -> Deferred[None]:
        """Deny all pending requests; see L{IAuthorizer.close}."""
        self._approvals.close()
        return self._authorizer.close()


def _needs_content(request: DecisionRequest) -> bool:
    """Whether an approver can see the content only if the proxy reads it now; long content is not read for that."""
    length = request.content_length
    return request.body_withheld and length is not None and length <= MAX_SHOWN


def _is_same(before: DecisionRequest | None, request: DecisionRequest) -> bool:
    """Whether the second of two requests with the same id only adds the content."""
    return before is not None and (before.stage, before.method, before.url, before.headers, before.client) == (
        request.stage,
        request.method,
        request.url,
        request.headers,
        request.client,
    )
