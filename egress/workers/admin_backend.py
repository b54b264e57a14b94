"""The admin backend of several workers: the supervisor queries and notifies all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.logger import Logger

from egress.admin.api import Unanswered
from egress.admin.backend import DECISIONS_REVOKED, GRANT_ADDED, GRANT_REVOKED
from egress.admin.grant_setup import CHECK, decisions_revoked, grant_revoked
from egress.admin.shared_approvals import WITHIN, AnsweredElsewhere, answered
from egress.admin.shared_grants import GrantRevoked
from egress.admin.stored_grants import StoredGrants
from egress.authz.approvals import MAX_GRANTS
from egress.authz.grant_register import GrantRegister
from egress.model.approval import ApprovalAnswer, Grant
from egress.model.change import Change
from egress.model.explanation import ExplainRequest
from egress.model.pending import merged
from egress.model.revocation import Revocation, RevocationCounts
from egress.observability.health import passed
from egress.workers.ipc import (
    ADD_GRANT,
    ANNOUNCE_GRANT,
    CONFIRM_REVOCATION,
    EXPLAIN,
    GRANTS_IN_FORCE,
    PENDING_APPROVALS,
    RECORD_CHANGE,
    RESOLVE_APPROVAL,
    RESOLVE_ELSEWHERE,
    REVOKE,
    REVOKE_DECISIONS,
    REVOKE_ELSEWHERE,
)
from egress.workers.supervisor import WorkerSlot

_log = Logger()

# Deadline of a request to a worker, which responds immediately.  An explanation resolves, authorizes and connects,
# each with a timeout of its own.
_WITHIN: Final = 2.0
# Before an approver's answer is sent to other replicas, the worker reads their lists.
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
    @param stored: the grants of the audit store, if it keeps grants and the workers do not use it.
    """

    def __init__(
        self,
        running: Callable[[], Sequence[WorkerSlot]],
        with_clients: Callable[[], Sequence[WorkerSlot]],
        wall_clock: Callable[[], float],
        *,
        shares: bool = False,
        stored: StoredGrants | None = None,
    ) -> None:
        self._running = running
        self._with_clients = with_clients
        self._wall_clock = wall_clock
        self._shares = shares
        self._grants: dict[str, Grant] = {}
        self._register = GrantRegister(shares=shares)
        self._stored = stored

    def start(self) -> None:
        """Read the grants of the audit store."""
        if self._stored is not None:
            self._stored.use = self._use_stored
            self._stored.read()

    def stop(self) -> Deferred[Any]:
        """Write the grants and revocations that wait."""
        return succeed(None) if self._stored is None else self._stored.stop()

    def checked(self, checks: dict[str, str]) -> dict[str, str]:
        """Return the results of the readiness checks of the workers with that of the audit store."""
        return checks if self._stored is None else {**checks, CHECK: passed(self._stored.note)}

    def _use_stored(self, grants: Sequence[Grant]) -> None:
        made = {each.grant_id: each.created for each in self._current()}
        for grant in grants:
            if grant.created > made.get(grant.grant_id, 0.0):
                self._store(grant)
                self._request_all(ADD_GRANT, grant.to_json())

    def _current(self) -> list[Grant]:
        now = self._wall_clock()
        self._grants = {key: each for key, each in self._grants.items() if each.until > now}
        return sorted(self._grants.values(), key=lambda each: each.until)

    def _request_all(self, what: str, argument: Any = None) -> Deferred[list[tuple[bool, Any]]]:
        requests = [slot.request(what, _WITHIN, argument) for slot in self._running()]
        return DeferredList(requests, consumeErrors=True)

    def announce_grants(self, slot: WorkerSlot) -> None:
        """Send the current grants to a worker that is about to serve."""
        what = ANNOUNCE_GRANT if self._shares else ADD_GRANT
        for grant in self._current():
            slot.request(what, _WITHIN, grant.to_json()).addErrback(
                lambda _: _log.warn("worker {number} did not receive the current grants", number=slot.name)
            )

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the grants and the pending approvals of all workers; equal pending approvals are merged."""

        async def listed() -> dict[str, Any]:
            results = await self._request_all(PENDING_APPROVALS)
            grants = self._current()
            if self._shares and grants:
                # Without the engine, they do not apply.
                names = await self._request_all(GRANTS_IN_FORCE)
                applied = {name for told, found in names if told for name in found}
                grants = [each for each in grants if each.grant_id in applied]
            pending = merged(one for told, found in results if told for one in found)
            return {"pending": pending, "grants": [grant.to_display() for grant in grants]}

        return Deferred.fromCoroutine(listed())

    def answer(self, approval_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Send an approver's answer for a pending approval to every worker."""
        document = {"id": approval_id, "answer": answer.to_json()}
        now = self._wall_clock()
        times = None if answer.seconds is None else self._register.times(now, now + answer.seconds).to_json()

        async def resolve() -> dict[str, Any]:
            results = await self._request_all(RESOLVE_APPROVAL, {**document, "times": times})
            found = [AnsweredElsewhere.from_json({**result, "unconfirmed": ()}) for told, result in results if told]
            number = sum(each.resolved for each in found)
            # Each worker in which requests wait makes the same grant.
            made = next((each.grant for each in found if each.grant is not None), None)
            if made is not None:
                number += await self._add_grant(made)
            elsewhere = await self._resolve_elsewhere({**document, "grant": None if made is None else made.to_json()})
            number += elsewhere.resolved
            if made is None and elsewhere.grant is not None:
                number += await self._add_grant(elsewhere.grant)
            return answered(number, made or elsewhere.grant, elsewhere.unconfirmed)

        return Deferred.fromCoroutine(resolve())

    async def _resolve_elsewhere(self, document: dict[str, Any]) -> AnsweredElsewhere:
        """Let one of the workers send an approver's answer to other replicas, if they share approvals."""
        try:
            result = await self._ask_one(RESOLVE_ELSEWHERE, document)
        except Unanswered:
            # It is unknown what the other replicas did.
            return AnsweredElsewhere(unconfirmed=("other replicas",))
        return AnsweredElsewhere() if result is None else AnsweredElsewhere.from_json(result)

    def _store(self, grant: Grant) -> None:
        if self._register.accepts(grant):
            self._register.added(grant, None)
            self._grants[grant.grant_id] = grant
        for oldest in self._current()[:-MAX_GRANTS]:
            del self._grants[oldest.grant_id]

    def learn(self, text: str) -> None:
        """Use what a worker learned from other replicas, or told them.

        @param text: JSON, as the worker sent it (L{egress.admin.backend.LocalAdminBackend.report}).
        """
        word, about = json.loads(text)
        if word == GRANT_ADDED:
            self._store(Grant.from_json(about))
        elif word == GRANT_REVOKED:
            if self._register.revoke(about["id"], about["revocation"], about["time"]):
                self._grants.pop(about["id"], None)
        elif word == DECISIONS_REVOKED:
            self._forget(Revocation.from_json(about))

    def _forget(self, revocation: Revocation) -> int:
        """Forget the grants that a revocation covers.

        @return: their number.
        """
        self._register.revoke_matching(revocation)
        if self._stored is not None:
            self._stored.revoke_matching(revocation)
        grants = [each for each in self._current() if revocation.matches_grant(each.subject)]
        for grant in grants:
            del self._grants[grant.grant_id]
        return len(grants)

    async def _add_grant(self, grant: Grant) -> int:
        """Send a grant to every worker.

        @return: the number of requests that it resolved.
        """
        self._store(grant)
        if self._stored is not None:
            self._stored.make(grant)
        results = await self._request_all(ADD_GRANT, grant.to_json())
        return sum(more for heard, more in results if heard)

    def revoke(self, grant_id: str) -> Deferred[bool]:
        """Revoke a grant in every worker, and in other replicas."""
        was = self._grants.pop(grant_id, None) is not None
        if self._stored is not None:
            self._stored.revoke(grant_id)

        async def revoke() -> bool:
            results = await self._request_all(REVOKE, grant_id)
            if not all(heard for heard, _ in results):
                # The worker may be about to end, or continue to allow; the client that revokes must know.
                raise Unanswered("a worker did not respond and may still apply the grant: try again")
            existed = was or any(known for _, known in results)
            elsewhere = await self._ask_one(REVOKE_ELSEWHERE, grant_id)
            found = GrantRevoked(False, ()) if elsewhere is None else GrantRevoked.from_json(elsewhere)
            return (await grant_revoked(succeed(found), self._stored, grant_id)).result() or existed

        return Deferred.fromCoroutine(revoke())

    def _ask_one(self, what: str, argument: Any) -> Deferred[Any]:
        """Let one of the workers tell other replicas.

        @return: fires with its response, or with C{None} if replicas share nothing.
        """
        running = self._running()
        if not self._shares:
            return succeed(None)
        if not running:
            return fail(Unanswered("no worker is running"))
        response = running[0].request(what, _ELSEWHERE_WITHIN, argument)
        return response.addErrback(lambda _: fail(Unanswered("the worker did not respond: try again")))

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void decisions in every worker, and end what runs because of them."""
        grants = self._forget(revocation)
        document = revocation.to_json()
        requests = [slot.request(REVOKE_DECISIONS, _REVOKED_WITHIN, document) for slot in self._with_clients()]
        confirming = self._ask_one(CONFIRM_REVOCATION, document)

        async def revoke() -> RevocationCounts:
            counts = RevocationCounts(grants=grants)
            results = await DeferredList(requests, consumeErrors=True)
            elsewhere = await confirming
            if not all(heard for heard, _ in results):
                raise Unanswered("a worker did not respond and may still apply the decisions: try again")
            documents = [result for _, result in results]
            for each in documents if elsewhere is None else [*documents, elsewhere]:
                counts += RevocationCounts.from_json(each)
            return await decisions_revoked(succeed(counts), self._stored)

        return Deferred.fromCoroutine(revoke())

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
