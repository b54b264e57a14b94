"""Approvals: pending requests wait for an approver, limited in time and number, and grants allow requests in advance.

Every problem results in a denial: no approver is configured, too many requests are pending, no approver answers in
time, or the proxy stops.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from os import urandom
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from egress.authz.approval_decisions import allowed_by_grant, allowed_once, denied, denied_by_approver
from egress.authz.grant_register import GrantRegister
from egress.authz.pending_approval import PendingApproval, WaitingRequest
from egress.model.approval import ApprovalAnswer, Grant, GrantScope, GrantTimes
from egress.model.decision import Decision, DecisionRequest, Stage
from egress.model.redact import redact_url
from egress.model.revocation import Revocation

# Beyond this number, the grant that expires first is dropped; the next request waits for an approver again.
MAX_GRANTS: Final = 1000
# The requests that wait longest are listed.  Others follow when these are complete.
MAX_LISTED: Final = 200
# The length of all previews in a list, as JSON: a list must fit into one message between processes.
MAX_PREVIEWS: Final = 2 * 1024 * 1024
_ID_BYTES: Final = 6
_KEY_BYTES: Final = 32
# Seconds after which the answer of an approver of another process is too old: it was not confirmed to the approver.
MAX_ANSWER_AGE: Final = 10.0

# The results of requests that require an approval.  Metrics use them as labels.
ALLOWED: Final = "allowed"
GRANTED: Final = "granted"
DENIED: Final = "denied"
TIMED_OUT: Final = "timed-out"
REJECTED: Final = "rejected"
CLIENT_DISCONNECTED: Final = "client-disconnected"
_OUTCOMES: Final = (ALLOWED, GRANTED, DENIED, TIMED_OUT, REJECTED, CLIENT_DISCONNECTED)


class Approvals:
    """The pending approvals and the grants.

    @param wall_clock: returns seconds since the epoch.
    @param timeout: seconds for which a request waits.
    @param limit: the maximum number of requests that wait at the same time.  One client can have at most three quarters
        of them, so that it cannot block the approvals of all other clients.
    @param is_open: whether there is an approver.
    @param key: makes ids that clients cannot predict, and that are equal in all processes with the same key.  A client
        that could make two requests with one id could get the approval of one for the other.
    @param changed: is called with the id and the facts of each new pending approval, and with the id and C{None} when
        it is no longer pending.
    @ivar observer: is called when a request begins or ends to wait.
    @ivar on_grant: is called with each new grant of an approver of this replica.
    @ivar on_revocation: is called with each revocation that can void grants.
    @ivar register: decides which grants are in force.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        *,
        timeout: float,
        limit: int,
        is_open: bool,
        key: bytes = b"",
        changed: Callable[[str, dict[str, Any] | None], object] = lambda approval_id, pending: None,
    ) -> None:
        self.observer: Callable[[], object] = lambda: None
        self.on_grant: Callable[[Grant], object] = lambda grant: None
        self.on_revocation: Callable[[Revocation], object] = lambda revocation: None
        self.register = GrantRegister()
        self._clock = clock
        self._wall_clock = wall_clock
        self._timeout = timeout
        self._limit = limit
        self._client_limit = limit - limit // 4
        self._waiting_by_client: Counter[str] = Counter()
        self._key = key or urandom(_KEY_BYTES)
        self._pending: dict[str, PendingApproval] = {}
        self._grants: dict[str, Grant] = {}
        self._counts: Counter[str] = Counter()
        self._closed = False
        self._open = is_open
        self._changed = changed

    # -- statistics

    @property
    def pending(self) -> int:
        """The number of requests that wait."""
        return sum(len(pending.waiting) for pending in self._pending.values())

    def counts(self) -> Mapping[str, int]:
        """Return the number of completed requests by result, since the start."""
        return {outcome: self._counts[outcome] for outcome in _OUTCOMES}

    # -- requests

    def _id(self, *parts: object) -> str:
        # repr() separates every part from the next one, whatever it contains.
        return hashlib.blake2b(repr(parts).encode(), digest_size=_ID_BYTES, key=self._key).hexdigest()

    def grant_for(self, request: DecisionRequest, decision: Decision) -> Grant | None:
        """Find a grant that matches a request and is in force."""
        scope = GrantScope.of(request, decision.rule_id)
        grant = self._grants.get(self._id("grant", scope))
        return grant if grant is not None and self._is_in_force(grant) else None

    def _is_in_force(self, grant: Grant) -> bool:
        return grant.until > self._wall_clock() and self.register.is_in_force(grant)

    def enqueue(self, request: DecisionRequest, decision: Decision) -> Deferred[Decision]:
        """Wait for the answer of an approver.

        @param request: the authorization request.
        @param decision: the decision that requires the approval.
        @return: fires with a decision that allows or denies.  Cancelling it removes the request.
        """
        resolved = self.resolve_without_approver(request, decision)
        if resolved is None:
            return self._wait(request, decision)
        self._counts[GRANTED if resolved.allowed else REJECTED] += 1
        return succeed(resolved)

    def resolve_without_approver(self, request: DecisionRequest, decision: Decision) -> Decision | None:
        """Decide on a request without waiting for an approver.

        @return: C{None} if the request has to wait for one.
        """
        if request.stage is Stage.MESSAGE:
            why = "a message cannot wait for one"
        elif not self._open:
            why = "there is no approver: start the proxy with --admin"
        elif self._closed:
            why = "the proxy is stopping"
        else:
            grant = self.grant_for(request, decision)
            if grant is not None:
                return allowed_by_grant(decision, grant)
            if self.pending >= self._limit:
                why = f"the limit of {self._limit} pending requests is reached"
            elif self._waiting_by_client[request.client.limit_key] >= self._client_limit:
                why = f"the limit of {self._client_limit} pending requests of this client is reached"
            else:
                return None
        return denied(decision, f"an approval is required, but {why}")

    def _wait(self, request: DecisionRequest, decision: Decision) -> Deferred[Decision]:
        scope = GrantScope.of(request, decision.rule_id)
        # An approval covers exactly what the approver saw: requests under one id have the same path, query and content.
        content = hashlib.sha256(request.body or b"").digest()
        approval_id = self._id("pending", scope, request.path, content, request.content_length)
        now = self._wall_clock()
        pending = self._pending.get(approval_id)
        if pending is None:
            grant_id = self._id("grant", scope)
            pending = PendingApproval(
                approval_id=approval_id, grant_id=grant_id, scope=scope, request=request, since=now, until=now
            )
            self._pending[approval_id] = pending
        pending.until = now + self._timeout
        answer: Deferred[Decision] = Deferred(lambda _: self._cancelled(pending, waiting))
        timer = self._clock.callLater(self._timeout, lambda: self._expired(pending, waiting))
        waiting = WaitingRequest(decision, answer, timer)
        pending.waiting.append(waiting)
        self._waiting_by_client[request.client.limit_key] += 1
        if len(pending.waiting) == 1:
            self._changed(approval_id, pending.shown(redact_url))
        self.observer()
        return answer

    def _remove(self, pending: PendingApproval, waiting: WaitingRequest) -> None:
        if waiting.timer.active():
            waiting.timer.cancel()
        pending.waiting.remove(waiting)
        # All requests of one pending approval come from one client: its address is part of the id.
        client = pending.request.client.limit_key
        self._waiting_by_client[client] -= 1
        if not self._waiting_by_client[client]:
            del self._waiting_by_client[client]
        if not pending.waiting:
            del self._pending[pending.approval_id]
            self._changed(pending.approval_id, None)
        self.observer()

    def _cancelled(self, pending: PendingApproval, waiting: WaitingRequest) -> None:
        if waiting in pending.waiting:
            self._counts[CLIENT_DISCONNECTED] += 1
            self._remove(pending, waiting)

    def _expired(self, pending: PendingApproval, waiting: WaitingRequest) -> None:
        self._counts[TIMED_OUT] += 1
        self._remove(pending, waiting)
        why = f"no approver answered within {self._timeout:g} s"
        waiting.answer.callback(denied(waiting.decision, why))

    def _resolve(self, pending: PendingApproval, outcome: str, decide: Callable[[Decision], Decision]) -> int:
        """Resolve all requests of one pending approval."""
        resolved = list(pending.waiting)
        for waiting in resolved:
            self._remove(pending, waiting)
        self._counts[outcome] += len(resolved)
        for waiting in resolved:
            # A callback of another request may have cancelled this one.
            if not waiting.answer.called:
                waiting.answer.callback(decide(waiting.decision))
        return len(resolved)

    # -- approvals and grants

    def listed(self, show: Callable[[str], str]) -> dict[str, Any]:
        """Return the pending approvals and the grants, oldest first, as JSON.

        @param show: redacts a URL for display.
        """
        left = MAX_PREVIEWS
        shown = []
        for pending in list(self._pending.values())[:MAX_LISTED]:
            preview, length = pending.preview
            left -= length
            shown.append({**pending.shown(show), "preview": None if left < 0 else preview})
        return {
            "pending": shown,
            "grants": [each.to_display() for each in self.grants if self._is_in_force(each)],
        }

    @property
    def grants(self) -> list[Grant]:
        """The grants that have not expired, the first to expire first."""
        self._forget_expired()
        return sorted(self._grants.values(), key=lambda each: each.until)

    @property
    def tokens(self) -> dict[str, str]:
        """The token of each pending approval, by its id."""
        return {pending.approval_id: pending.token for pending in self._pending.values()}

    @property
    def grant_ids(self) -> dict[str, str]:
        """The id of the grant that would allow each pending approval, by its id."""
        return {pending.approval_id: pending.grant_id for pending in self._pending.values()}

    def answer(
        self,
        approval_id: str,
        answer: ApprovalAnswer,
        token: str | None = None,
        *,
        times: GrantTimes | None = None,
        is_current: bool = True,
    ) -> tuple[int, Grant | None]:
        """Apply C{answer} to a pending approval.

        @param token: the token that an approver of another replica has seen: C{answer} applies only to the pending
            approval with this token.  C{None}: the approver uses this replica.
        @param times: the times of the grant, if C{answer} makes one in several processes.
        @param is_current: whether C{answer} is certainly later than the connection of this process.
        @return: the number of requests that C{answer} completed, which is zero if the approval is not pending any more;
            and the grant, if C{answer} makes one, for the other processes.
        """
        pending = self._pending.get(approval_id)
        if pending is None or token not in (None, pending.token):
            return 0, None
        if not answer.allow:
            return self._resolve(pending, DENIED, lambda decision: denied_by_approver(decision, answer)), None
        if answer.seconds is None:
            return self._resolve(pending, ALLOWED, lambda decision: allowed_once(decision, answer)), None
        now = self._wall_clock()
        until = now + answer.seconds
        grant = Grant(pending.grant_id, pending.scope, until, answer.by, answer.reason, created=now)
        if times is None:
            grant = self.register.make(grant)
        else:
            grant = times.apply(grant)
            if now > grant.created + MAX_ANSWER_AGE or self.register.is_revoked(grant):
                return 0, None
            if is_current:
                self.register.confirm(grant)
            if token is None:
                self.register.trust(grant)
        # The approver has seen these requests, so they are allowed even if the grant cannot be used here.
        resolved = self.grant(grant) + self._resolve(pending, ALLOWED, lambda each: allowed_by_grant(each, grant))
        if token is None:
            self.on_grant(grant)
        return resolved, grant

    def grant(self, grant: Grant) -> int:
        """Add a grant, unless it is revoked or a later one has its id, and resolve the pending requests that it covers.

        @return: the number of these requests.
        """
        self._forget_expired()
        if not self.register.accepts(grant):
            return 0
        self.register.added(grant, self._grants.get(grant.grant_id))
        self._grants[grant.grant_id] = grant
        if len(self._grants) > MAX_GRANTS:
            del self._grants[min(self._grants.values(), key=lambda each: each.until).grant_id]
        return self._apply(grant)

    def apply_grants(self) -> None:
        """Resolve the pending requests that grants cover, because grants that were not in force are so now."""
        for pending in list(self._pending.values()):
            grant = self._grants.get(pending.grant_id)
            if grant is not None:
                self._apply(grant)

    def _apply(self, grant: Grant) -> int:
        if not self._is_in_force(grant):
            return 0
        covered = [pending for pending in self._pending.values() if pending.scope == grant.subject]
        return sum(
            self._resolve(pending, ALLOWED, lambda decision: allowed_by_grant(decision, grant)) for pending in covered
        )

    def revoke(self, grant_id: str) -> bool:
        """Revoke a grant.

        @return: whether the grant existed.
        """
        return self._grants.pop(grant_id, None) is not None

    def revoke_matching(self, revocation: Revocation) -> int:
        """Revoke the grants that a revocation voids.

        @return: the number of grants.
        """
        self._forget_expired()
        self.register.revoke_matching(revocation)
        self.on_revocation(revocation)
        names = [each.grant_id for each in self._grants.values() if revocation.matches_grant(each.subject)]
        for name in names:
            del self._grants[name]
        return len(names)

    def _forget_expired(self) -> None:
        now = self._wall_clock()
        self._grants = {key: each for key, each in self._grants.items() if each.until > now}

    def close(self) -> None:
        """Deny all pending requests, and accept no more."""
        self._closed = True
        why = "the proxy stopped before an approver answered"
        for pending in list(self._pending.values()):
            self._resolve(pending, REJECTED, lambda decision: denied(decision, why))
