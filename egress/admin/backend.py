"""The desk at which people are asked and answer: that of one process, which others may reach over a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from egress.authz.approvals import Approvals
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.explanation import ExplainRequest, Explanation
from egress.model.redact import redact_url


class LocalAdminBackend:
    """The desk of a process that serves clients (L{egress.admin.api.Desk}).

    @param explain: explains a request.
    """

    def __init__(self, approvals: Approvals, explain: Callable[[ExplainRequest], Deferred[Explanation]]) -> None:
        self._approvals = approvals
        self._explain = explain

    def listed(self) -> Deferred[dict[str, Any]]:
        """Tell what is held, and what is allowed for a time."""
        return succeed(self._approvals.listed(redact_url))

    def answer(self, held_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Answer a question that is held."""
        answered, permission = self._approvals.answer(held_id, answer)
        return succeed({"answered": answered, "permission": None if permission is None else permission.to_display()})

    def permit(self, permission: Grant) -> int:
        """Learn what another process was told to allow for a time."""
        return self._approvals.grant(permission)

    def revoke(self, permission_id: str) -> Deferred[bool]:
        """Take back what is allowed for a time."""
        return succeed(self._approvals.revoke(permission_id))

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what becomes of a request."""
        return maybeDeferred(self._explain, question).addCallback(lambda explanation: explanation.to_json())

    # -- over a line

    def held(self) -> list[Any]:
        """Tell what is held; the other process knows what is allowed for a time."""
        found: list[Any] = self._approvals.listed(redact_url)["held"]
        return found

    def answer_over(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer for another process: C{{"id": ..., "answer": {...}}}."""
        answered, permission = self._approvals.answer(asked["id"], ApprovalAnswer.parse(asked["answer"]))
        return {"answered": answered, "permission": None if permission is None else permission.to_json()}

    def permit_over(self, permission: Mapping[str, Any]) -> int:
        """Learn of a permission from another process."""
        return self.permit(Grant.from_json(permission))

    def explain_over(self, question: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Explain for another process."""
        return self.explain(ExplainRequest.parse(question))
