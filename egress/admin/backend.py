"""The admin backend of one process, which a parent process can use over a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from egress.authz.approvals import Approvals
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.explanation import ExplainRequest, Explanation
from egress.model.redact import redact_url


class LocalAdminBackend:
    """The admin backend of a process that serves clients (L{egress.admin.api.AdminBackend}).

    @param explain: explains a request.
    """

    def __init__(self, approvals: Approvals, explain: Callable[[ExplainRequest], Deferred[Explanation]]) -> None:
        self._approvals = approvals
        self._explain = explain

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the pending approvals and the grants."""
        return succeed(self._approvals.listed(redact_url))

    def answer(self, held_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval."""
        answered, permission = self._approvals.answer(held_id, answer)
        return succeed({"answered": answered, "permission": None if permission is None else permission.to_display()})

    def permit(self, permission: Grant) -> int:
        """Add a grant that was made in another process."""
        return self._approvals.grant(permission)

    def revoke(self, permission_id: str) -> Deferred[bool]:
        """Revoke a grant."""
        return succeed(self._approvals.revoke(permission_id))

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what the proxy would do with a request."""
        return maybeDeferred(self._explain, question).addCallback(lambda explanation: explanation.to_json())

    # -- requests of the parent process

    def held(self) -> list[Any]:
        """List the pending approvals; the parent process knows the grants."""
        found: list[Any] = self._approvals.listed(redact_url)["held"]
        return found

    def answer_over(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve a pending approval for the parent process: C{{"id": ..., "answer": {...}}}."""
        answered, permission = self._approvals.answer(asked["id"], ApprovalAnswer.parse(asked["answer"]))
        return {"answered": answered, "permission": None if permission is None else permission.to_json()}

    def permit_over(self, permission: Mapping[str, Any]) -> int:
        """Add a grant from the parent process."""
        return self.permit(Grant.from_json(permission))

    def explain_over(self, question: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Explain a request for the parent process."""
        return self.explain(ExplainRequest.parse(question))
