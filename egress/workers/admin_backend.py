"""The desk in front of several processes: their parent asks and tells them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger

from egress.admin.api import Unanswered
from egress.authz.approvals import MAX_GRANTS
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.explanation import ExplainRequest
from egress.workers.ipc import ANSWER, EXPLAIN, HELD, PERMIT, REVOKE
from egress.workers.supervisor import WorkerSlot

_log = Logger()

# What a worker has for its answer: it has it at once.  An explanation resolves, asks and connects, each in its time.
_WITHIN: Final = 2.0
_EXPLAINED_WITHIN: Final = 120.0


class WorkerAdminBackend:
    """The desk of a parent (L{egress.admin.api.Desk}).

    @param running: gives the posts whose workers serve.
    @param wall_clock: seconds since the epoch.
    """

    def __init__(self, running: Callable[[], Sequence[WorkerSlot]], wall_clock: Callable[[], float]) -> None:
        self._running = running
        self._wall_clock = wall_clock
        self._permissions: dict[str, Grant] = {}

    def _current(self) -> list[Grant]:
        now = self._wall_clock()
        self._permissions = {key: each for key, each in self._permissions.items() if each.until > now}
        return sorted(self._permissions.values(), key=lambda each: each.until)

    def _ask_all(self, what: str, argument: Any = None) -> Deferred[list[tuple[bool, Any]]]:
        asking = [post.ask(what, _WITHIN, argument) for post in self._running()]
        return DeferredList(asking, consumeErrors=True)

    def announce_grants(self, post: WorkerSlot) -> None:
        """Tell a worker that is about to serve what is allowed for a time."""
        for permission in self._current():
            post.ask(PERMIT, _WITHIN, permission.to_json()).addErrback(
                lambda _: _log.warn("worker {number} has not learned what is allowed for a time", number=post.name)
            )

    def listed(self) -> Deferred[dict[str, Any]]:
        """Tell what is held anywhere; the same question in several processes is one."""

        def merged(results: list[tuple[bool, Any]]) -> dict[str, Any]:
            held: dict[str, dict[str, Any]] = {}
            for some in (found for told, found in results if told):
                for one in some:
                    other = held.setdefault(one["id"], one)
                    if other is not one:
                        other["count"] += one["count"]
                        other["since"] = min(other["since"], one["since"])
                        other["until"] = max(other["until"], one["until"])
            return {
                "held": sorted(held.values(), key=lambda one: one["since"]),
                "permissions": [permission.to_display() for permission in self._current()],
            }

        return self._ask_all(HELD).addCallback(merged)

    def answer(self, held_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Have every process answer a question that it holds."""

        def answered(results: list[tuple[bool, Any]]) -> Any:
            found = [document for told, document in results if told]
            number = sum(document["answered"] for document in found)
            permissions = [document["permission"] for document in found if document["permission"] is not None]
            if not permissions:
                return {"answered": number, "permission": None}
            return self._permit(permissions[0], number)

        return self._ask_all(ANSWER, {"id": held_id, "answer": answer.to_json()}).addCallback(answered)

    def _permit(self, document: dict[str, Any], number: int) -> Deferred[dict[str, Any]]:
        permission = Grant.from_json(document)
        self._permissions[permission.grant_id] = permission
        for oldest in self._current()[:-MAX_GRANTS]:
            del self._permissions[oldest.grant_id]

        def told(results: list[tuple[bool, Any]]) -> dict[str, Any]:
            return {
                "answered": number + sum(more for heard, more in results if heard),
                "permission": permission.to_display(),
            }

        return self._ask_all(PERMIT, document).addCallback(told)

    def revoke(self, permission_id: str) -> Deferred[bool]:
        """Take back what is allowed for a time, everywhere."""
        was = self._permissions.pop(permission_id, None) is not None

        def told(results: list[tuple[bool, Any]]) -> Any:
            if not all(heard for heard, _ in results):
                # It may be about to end, or go on allowing: whoever takes something back must know.
                return fail(Unanswered("a worker did not answer, and may go on allowing it: try again"))
            return was or any(known for _, known in results)

        return self._ask_all(REVOKE, permission_id).addCallback(told)

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Have one of them explain: they are all alike."""
        running = self._running()
        if not running:
            return fail(Unanswered("no worker runs"))
        asked = running[0].ask(EXPLAIN, _EXPLAINED_WITHIN, question.to_json())
        return asked.addErrback(lambda _: fail(Unanswered("the worker that was asked did not answer")))
