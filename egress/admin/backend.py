"""The admin backend of one process, which the supervisor can use over a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from egress.admin.changes import ChangeLog
from egress.admin.shared_approvals import AnsweredElsewhere, SharedApprovals, answered
from egress.authz.approvals import Approvals
from egress.interfaces import IRevocations
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.change import Change
from egress.model.explanation import ExplainRequest, Explanation
from egress.model.pending import merged
from egress.model.redact import redact_url
from egress.model.revocation import Revocation, RevocationCounts


class LocalAdminBackend:
    """The admin backend of a process that serves clients (L{egress.admin.api.AdminBackend}).

    @param explain: explains a request.
    @param changes: receives the changes of administrators.
    @param revocations: applies revocations to this process.
    @param shared: the approvals of all replicas, if they share state.
    """

    def __init__(
        self,
        approvals: Approvals,
        explain: Callable[[ExplainRequest], Deferred[Explanation]],
        changes: ChangeLog,
        revocations: IRevocations,
        *,
        shared: SharedApprovals | None = None,
    ) -> None:
        self._approvals = approvals
        self._explain = explain
        self._changes = changes
        self._revocations = revocations
        self._shared = shared

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the pending approvals and the grants."""
        found = self._approvals.listed(redact_url)
        if self._shared is None:
            return succeed(found)
        return self._shared.listed().addCallback(lambda pending: {**found, "pending": merged(pending)})

    def answer(self, approval_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval."""
        resolved, grant = self._approvals.answer(approval_id, answer)

        def result(elsewhere: AnsweredElsewhere) -> dict[str, Any]:
            return answered(resolved + elsewhere.resolved, grant or elsewhere.grant, elsewhere.unconfirmed)

        if self._shared is None:
            return succeed(result(AnsweredElsewhere()))
        return self._shared.answer(approval_id, answer).addCallback(result)

    def add_grant(self, grant: Grant) -> int:
        """Add a grant that was made in another process."""
        return self._approvals.grant(grant)

    def revoke(self, grant_id: str) -> Deferred[bool]:
        """Revoke a grant."""
        return succeed(self._approvals.revoke(grant_id))

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void decisions, and end what runs because of them."""
        return self._revocations.apply(revocation)

    def explain(self, request: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what the proxy would do with a request."""
        return maybeDeferred(self._explain, request).addCallback(lambda explanation: explanation.to_json())

    def record(self, change: Change) -> None:
        """Record a change."""
        self._changes.write(change)

    # -- requests of the supervisor

    def record_for_parent(self, change: Mapping[str, Any]) -> bool:
        """Record a change for the supervisor."""
        self.record(Change.from_json(change))
        return True

    def pending_approvals(self) -> list[Any] | Deferred[list[dict[str, Any]]]:
        """List the pending approvals, also of other replicas; the supervisor knows the grants."""
        if self._shared is not None:
            return self._shared.listed()
        found: list[Any] = self._approvals.listed(redact_url)["pending"]
        return found

    def resolve_for_parent(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve a pending approval for the supervisor: C{{"id": ..., "answer": {...}}}."""
        resolved, grant = self._approvals.answer(request["id"], ApprovalAnswer.parse(request["answer"]))
        return {"resolved": resolved, "grant": None if grant is None else grant.to_json()}

    def resolve_elsewhere_for_parent(self, request: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval of other replicas for the supervisor."""
        assert self._shared is not None
        elsewhere = self._shared.answer(request["id"], ApprovalAnswer.parse(request["answer"]))
        return elsewhere.addCallback(AnsweredElsewhere.to_json)

    def add_grant_for_parent(self, grant: Mapping[str, Any]) -> int:
        """Add a grant from the supervisor."""
        return self.add_grant(Grant.from_json(grant))

    def revoke_decisions_for_parent(self, revocation: Mapping[str, Any]) -> Deferred[dict[str, int]]:
        """Void decisions for the supervisor."""
        return self.revoke_decisions(Revocation.from_json(revocation)).addCallback(RevocationCounts.to_json)

    def explain_for_parent(self, request: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Explain a request for the supervisor."""
        return self.explain(ExplainRequest.parse(request))
