"""The admin backend of several workers: the supervisor queries and notifies all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.logger import Logger

from egress.admin.api import Unanswered
from egress.admin.shared_approvals import WITHIN, AnsweredElsewhere, answered
from egress.authz.approvals import MAX_GRANTS
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.change import Change
from egress.model.explanation import ExplainRequest
from egress.model.pending import merged
from egress.model.revocation import Revocation, RevocationCounts
from egress.workers.ipc import (
    ADD_GRANT,
    EXPLAIN,
    PENDING_APPROVALS,
    RECORD_CHANGE,
    RESOLVE_APPROVAL,
    RESOLVE_ELSEWHERE,
    REVOKE,
    REVOKE_DECISIONS,
)
from egress.workers.supervisor import WorkerSlot

_log = Logger()

# Deadline of a request to a worker, which responds immediately.  An explanation resolves, authorizes and connects,
# each with a timeout of its own.
_WITHIN: Final = 2.0
# Before the answer is sent to other replicas, the worker reads what is pending there.
_ELSEWHERE_WITHIN: Final = WITHIN + _WITHIN
_EXPLAINED_WITHIN: Final = 120.0
# A revocation of thousands of connections on a busy machine takes longer than usual.
_REVOKED_WITHIN: Final = 15.0


class WorkerAdminBackend:
    """The admin backend of a supervisor (L{egress.admin.api.AdminBackend}).

    @param running: returns the slots whose workers serve.
    @param with_clients: returns the slots whose workers have clients, also while they drain.
    @param wall_clock: seconds since the epoch.
    @param shares: whether replicas share approvals.
    """

    def __init__(
        self,
        running: Callable[[], Sequence[WorkerSlot]],
        with_clients: Callable[[], Sequence[WorkerSlot]],
        wall_clock: Callable[[], float],
        *,
        shares: bool = False,
    ) -> None:
        self._running = running
        self._with_clients = with_clients
        self._wall_clock = wall_clock
        self._shares = shares
        self._grants: dict[str, Grant] = {}

    def _current(self) -> list[Grant]:
        now = self._wall_clock()
        self._grants = {key: each for key, each in self._grants.items() if each.until > now}
        return sorted(self._grants.values(), key=lambda each: each.until)

    def _request_all(self, what: str, argument: Any = None) -> Deferred[list[tuple[bool, Any]]]:
        requests = [slot.request(what, _WITHIN, argument) for slot in self._running()]
        return DeferredList(requests, consumeErrors=True)

    def announce_grants(self, slot: WorkerSlot) -> None:
        """Send the current grants to a worker that is about to serve."""
        for grant in self._current():
            slot.request(ADD_GRANT, _WITHIN, grant.to_json()).addErrback(
                lambda _: _log.warn("worker {number} did not receive the current grants", number=slot.name)
            )

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the grants and the pending approvals of all workers; equal pending approvals are merged."""

        def listed(results: list[tuple[bool, Any]]) -> dict[str, Any]:
            pending = merged(one for told, found in results if told for one in found)
            return {"pending": pending, "grants": [grant.to_display() for grant in self._current()]}

        return self._request_all(PENDING_APPROVALS).addCallback(listed)

    def answer(self, approval_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Send an approver's answer for a pending approval to every worker."""

        document = {"id": approval_id, "answer": answer.to_json()}

        async def resolve() -> dict[str, Any]:
            results = await self._request_all(RESOLVE_APPROVAL, document)
            found = [AnsweredElsewhere.from_json({**result, "unconfirmed": ()}) for told, result in results if told]
            elsewhere = await self._resolve_elsewhere(document)
            found.append(elsewhere)
            number = sum(each.resolved for each in found)
            grant = next((each.grant for each in found if each.grant is not None), None)
            if grant is not None:
                number += await self._add_grant(grant)
            return answered(number, grant, elsewhere.unconfirmed)

        return Deferred.fromCoroutine(resolve())

    async def _resolve_elsewhere(self, document: dict[str, Any]) -> AnsweredElsewhere:
        """Let one of the workers send an answer to other replicas, if they share approvals."""
        running = self._running() if self._shares else ()
        if not running:
            return AnsweredElsewhere()
        response = running[0].request(RESOLVE_ELSEWHERE, _ELSEWHERE_WITHIN, document)
        result = await response.addErrback(lambda _: None)
        if result is None:
            # It is unknown what the other replicas did.
            return AnsweredElsewhere(unconfirmed=("other replicas",))
        return AnsweredElsewhere.from_json(result)

    async def _add_grant(self, grant: Grant) -> int:
        """Send a grant to every worker.

        @return: the number of requests that it resolved.
        """
        self._grants[grant.grant_id] = grant
        for oldest in self._current()[:-MAX_GRANTS]:
            del self._grants[oldest.grant_id]

        results = await self._request_all(ADD_GRANT, grant.to_json())
        return sum(more for heard, more in results if heard)

    def revoke(self, grant_id: str) -> Deferred[bool]:
        """Revoke a grant in every worker."""
        was = self._grants.pop(grant_id, None) is not None

        def told(results: list[tuple[bool, Any]]) -> Any:
            if not all(heard for heard, _ in results):
                # The worker may be about to end, or continue to allow; the client that revokes must know.
                return fail(Unanswered("a worker did not respond and may still apply the grant: try again"))
            return was or any(known for _, known in results)

        return self._request_all(REVOKE, grant_id).addCallback(told)

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void decisions in every worker, and end what runs because of them."""
        grants = [each for each in self._current() if revocation.matches_grant(each.subject)]
        for grant in grants:
            del self._grants[grant.grant_id]

        def told(results: list[tuple[bool, Any]]) -> Any:
            if not all(heard for heard, _ in results):
                return fail(Unanswered("a worker did not respond and may still apply the decisions: try again"))
            counts = RevocationCounts(grants=len(grants))
            for _, document in results:
                counts += RevocationCounts.from_json(document)
            return counts

        document = revocation.to_json()
        requests = [slot.request(REVOKE_DECISIONS, _REVOKED_WITHIN, document) for slot in self._with_clients()]
        return DeferredList(requests, consumeErrors=True).addCallback(told)

    def record(self, change: Change) -> None:
        """Let one of the workers write the record of a change; another one if it does not respond."""

        async def write() -> None:
            for slot in self._running():
                # A worker that is about to end does not respond.
                written = slot.request(RECORD_CHANGE, _WITHIN, change.to_json()).addErrback(lambda _: False)
                if await written:
                    return
            _log.error("no worker recorded a change: {change}", change=change.text)

        Deferred.fromCoroutine(write()).addErrback(lambda failure: _log.failure("a change was not recorded", failure))

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Have one of the workers explain a request: they are all alike."""
        running = self._running()
        if not running:
            return fail(Unanswered("no worker is running"))
        response = running[0].request(EXPLAIN, _EXPLAINED_WITHIN, question.to_json())
        return response.addErrback(lambda _: fail(Unanswered("the worker did not respond")))
