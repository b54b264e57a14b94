"""Asking a person: requests are held until somebody answers, in bounded time and number.

Whatever goes wrong is a denial: nobody can be asked, too many wait, nobody answers in time, the proxy is stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from os import urandom
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.approval import ApprovalAnswer, Grant, GrantScope, truncate, truncate_name
from egress.model.decision import NO_OBLIGATIONS, Decision, DecisionRequest, Verdict

# Beyond it, the one that ends first is forgotten: then somebody is asked again.
MAX_GRANTS: Final = 1000
# Those that wait longest; as they are answered, others are shown.
MAX_LISTED: Final = 200
_ID_BYTES: Final = 6
_KEY_BYTES: Final = 32

# What becomes of requests that a person is to be asked about.  Metrics have these names as labels.
ALLOWED: Final = "allowed"
STANDING: Final = "standing"
DENIED: Final = "denied"
TIMED_OUT: Final = "timed-out"
REFUSED: Final = "refused"
GONE: Final = "gone"
_OUTCOMES: Final = (ALLOWED, STANDING, DENIED, TIMED_OUT, REFUSED, GONE)


@attrs.define(eq=False)
class _Waiting:
    """One request that waits."""

    decision: Decision
    answer: Deferred[Decision]
    timer: IDelayedCall


@attrs.define(eq=False)
class _Pending:
    """One question, and all requests that put it.

    @ivar until: when the last of them gives up, in seconds since the epoch.
    """

    held_id: str
    subject: GrantScope
    request: DecisionRequest
    since: float
    until: float
    waiting: list[_Waiting] = attrs.field(factory=list)


class Approvals:
    """The requests that are held, and what was allowed for a time.

    @param wall_clock: seconds since the epoch.
    @param timeout: seconds for which a request is held.
    @param limit: how many are held at the same time; one client has three quarters of them at most, so that it cannot
        keep all others from being asked about.
    @param is_open: whether somebody can be asked.
    @param key: makes ids that clients cannot work out, and the same ones in every process that has it: a client that
        could make two questions with one id would have one answered in place of the other.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        timeout: float,
        limit: int,
        *,
        is_open: bool,
        key: bytes = b"",
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._timeout = timeout
        self._limit = limit
        self._of_one = limit - limit // 4
        self._held_of: Counter[str] = Counter()
        self._key = key or urandom(_KEY_BYTES)
        self._held: dict[str, _Pending] = {}
        self._permissions: dict[str, Grant] = {}
        self._counts: Counter[str] = Counter()
        self._closed = False
        self._open = is_open

    # -- numbers

    @property
    def pending(self) -> int:
        """How many requests are held."""
        return sum(len(held.waiting) for held in self._held.values())

    def counts(self) -> Mapping[str, int]:
        """What became of the others, since the start."""
        return {outcome: self._counts[outcome] for outcome in _OUTCOMES}

    # -- asking

    def _id(self, *parts: object) -> str:
        # repr tells every part from the next one, whatever is in them.
        return hashlib.blake2b(repr(parts).encode(), digest_size=_ID_BYTES, key=self._key).hexdigest()

    def grant_for(self, request: DecisionRequest, decision: Decision) -> Grant | None:
        """Find what was allowed for a time, and still is."""
        subject = GrantScope.of(request, decision.rule_id)
        permission = self._permissions.get(self._id("permission", subject))
        if permission is None or permission.until <= self._wall_clock():
            return None
        return permission

    def enqueue(self, request: DecisionRequest, decision: Decision) -> Deferred[Decision]:
        """Have a person decide.

        @param decision: what says that a person is to be asked.
        @return: fires with a decision that allows or denies.  Cancelling it takes the request off the list.
        """
        settled = self.resolve_without_approver(request, decision)
        if settled is None:
            return self._wait(request, decision)
        self._counts[STANDING if settled.allowed else REFUSED] += 1
        return succeed(settled)

    def resolve_without_approver(self, request: DecisionRequest, decision: Decision) -> Decision | None:
        """Say what becomes of a request without a person.

        @return: C{None} when one would be asked.
        """
        if not self._open:
            why = "nobody can be asked: start with --admin"
        elif self._closed:
            why = "nobody can be asked: the proxy is being stopped"
        else:
            permission = self.grant_for(request, decision)
            if permission is not None:
                return permitted(decision, permission)
            if self.pending >= self._limit:
                why = f"{self._limit} requests wait for one already"
            elif self._held_of[request.client.limit_key] >= self._of_one:
                why = f"{self._of_one} requests of this client wait for one already"
            else:
                return None
        return denied(decision, f"a person is to be asked, but {why}")

    def _wait(self, request: DecisionRequest, decision: Decision) -> Deferred[Decision]:
        subject = GrantScope.of(request, decision.rule_id)
        # What a person has seen is what is allowed: of two requests that are shown as one, path, query and content are
        # the same.
        content = hashlib.sha256(request.body or b"").digest()
        held_id = self._id("held", subject, request.path, content, request.content_length)
        now = self._wall_clock()
        held = self._held.get(held_id)
        if held is None:
            held = self._held[held_id] = _Pending(held_id, subject, request, now, now)
        held.until = now + self._timeout
        answer: Deferred[Decision] = Deferred(lambda _: self._gone(held, waiting))
        timer = self._clock.callLater(self._timeout, lambda: self._expired(held, waiting))
        waiting = _Waiting(decision, answer, timer)
        held.waiting.append(waiting)
        self._held_of[request.client.limit_key] += 1
        return answer

    def _take(self, held: _Pending, waiting: _Waiting) -> None:
        if waiting.timer.active():
            waiting.timer.cancel()
        held.waiting.remove(waiting)
        # All who put one question are one client: its address is part of the question.
        client = held.request.client.limit_key
        self._held_of[client] -= 1
        if not self._held_of[client]:
            del self._held_of[client]
        if not held.waiting:
            del self._held[held.held_id]

    def _gone(self, held: _Pending, waiting: _Waiting) -> None:
        if waiting in held.waiting:
            self._counts[GONE] += 1
            self._take(held, waiting)

    def _expired(self, held: _Pending, waiting: _Waiting) -> None:
        self._counts[TIMED_OUT] += 1
        self._take(held, waiting)
        why = f"a person was asked, and did not answer within {self._timeout:g} s"
        waiting.answer.callback(denied(waiting.decision, why))

    def _resolve(self, held: _Pending, outcome: str, decide: Callable[[Decision], Decision]) -> int:
        """Answer all requests that put one question."""
        settled = list(held.waiting)
        for waiting in settled:
            self._take(held, waiting)
        self._counts[outcome] += len(settled)
        for waiting in settled:
            # One may have been given up by what another did with its answer.
            if not waiting.answer.called:
                waiting.answer.callback(decide(waiting.decision))
        return len(settled)

    # -- answering

    def listed(self, show: Callable[[str], str]) -> dict[str, Any]:
        """Tell what is held and what is allowed for a time, oldest first, as JSON.

        @param show: makes of a URL what people may read.
        """
        self._forget_expired()
        return {
            "held": [_shown(held, show) for held in list(self._held.values())[:MAX_LISTED]],
            "permissions": [
                each.to_display() for each in sorted(self._permissions.values(), key=lambda each: each.until)
            ],
        }

    def answer(self, held_id: str, answer: ApprovalAnswer) -> tuple[int, Grant | None]:
        """Answer a question that is held.

        @return: how many requests had this answer, none where the question is not held any more; and what is allowed
            from now on, for other processes to learn of.
        """
        held = self._held.get(held_id)
        if held is None:
            return 0, None
        if not answer.allow:
            return self._resolve(held, DENIED, lambda decision: refused(decision, answer)), None
        if answer.seconds is None:
            return self._resolve(held, ALLOWED, lambda decision: allowed_once(decision, answer)), None
        until = self._wall_clock() + answer.seconds
        subject = held.subject
        permission = Grant(self._id("permission", subject), subject, until, answer.by, answer.reason)
        return self.grant(permission), permission

    def grant(self, permission: Grant) -> int:
        """Allow something for a time, and let go what is held and meant by it.

        @return: how many requests.
        """
        self._forget_expired()
        self._permissions[permission.grant_id] = permission
        if len(self._permissions) > MAX_GRANTS:
            del self._permissions[min(self._permissions.values(), key=lambda each: each.until).grant_id]
        meant = [held for held in self._held.values() if held.subject == permission.subject]
        return sum(self._resolve(held, ALLOWED, lambda decision: permitted(decision, permission)) for held in meant)

    def revoke(self, permission_id: str) -> bool:
        """Take back what was allowed for a time.

        @return: whether it was.
        """
        return self._permissions.pop(permission_id, None) is not None

    def _forget_expired(self) -> None:
        now = self._wall_clock()
        self._permissions = {key: each for key, each in self._permissions.items() if each.until > now}

    def close(self) -> None:
        """Deny what is held, and hold no more."""
        self._closed = True
        why = "a person was asked, and had not answered when the proxy was stopped"
        for held in list(self._held.values()):
            self._resolve(held, REFUSED, lambda decision: denied(decision, why))


def _shown(held: _Pending, show: Callable[[str], str]) -> dict[str, Any]:
    request, decision = held.request, held.waiting[0].decision
    return {
        "id": held.held_id,
        "stage": request.stage.value,
        "method": truncate_name(request.method),
        "url": truncate(show(request.url)),
        "contentLength": request.content_length,
        "client": request.client.address,
        "identity": truncate_name(request.client.identity),
        "ruleId": truncate_name(decision.rule_id),
        "reason": truncate(decision.reason),
        "decidedBy": truncate(decision.decided_by),
        "count": len(held.waiting),
        "since": held.since,
        "until": held.until,
    }


# -- what becomes of a decision


def denied(decision: Decision, why: str) -> Decision:
    """Deny what nobody has allowed; the rule and who decided stay."""
    reason = f"{why} ({decision.reason})" if decision.reason else why
    return attrs.evolve(
        decision,
        verdict=Verdict.DENY,
        reason=reason,
        ttl=None,
        stale_if_error=None,
        cache_key=None,
        obligations=NO_OBLIGATIONS,
    )


def refused(decision: Decision, answer: ApprovalAnswer) -> Decision:
    """Deny what a person has denied, whatever mode the proxy is in."""
    why = f"denied by {answer.who}" + (f": {answer.reason}" if answer.reason else "")
    return attrs.evolve(denied(decision, ""), reason=why, decided_by=_by(decision, answer.by), enforce_in_observe=True)


def allowed_once(decision: Decision, answer: ApprovalAnswer) -> Decision:
    """Allow what a person has allowed this once, on the terms of who asked."""
    reason = f"allowed once by {answer.who}" + (f": {answer.reason}" if answer.reason else "")
    return _allowed(decision, reason, answer.by)


def permitted(decision: Decision, permission: Grant) -> Decision:
    """Allow what a person has allowed for a time."""
    until = datetime.fromtimestamp(permission.until, timezone.utc)
    why = f": {permission.reason}" if permission.reason else ""
    reason = f"allowed by {permission.by or 'a person'} until {until:%Y-%m-%d %H:%M:%S} UTC{why}"
    return attrs.evolve(_allowed(decision, reason, permission.by), source="approval")


def _allowed(decision: Decision, reason: str, by: str) -> Decision:
    # It is for this request alone, whatever the answer says of being used again.
    return attrs.evolve(
        decision,
        verdict=Verdict.ALLOW,
        reason=reason,
        decided_by=_by(decision, by),
        ttl=None,
        stale_if_error=None,
        cache_key=None,
    )


def _by(decision: Decision, name: str) -> str:
    return f"a person ({name}) for {decision.decided_by}" if name else f"a person for {decision.decided_by}"


class ApprovalAuthorizer(Wrapper):
    """Asks an authorizer, and a person where it says so."""

    def __init__(self, authorizer: IAuthorizer, approvals: Approvals) -> None:
        super().__init__(authorizer)
        self._approvals = approvals

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        asked = self._authorizer.decide(request)
        if asked.called and not asked.paused and isinstance(asked.result, Decision):
            # As the embedded policy does nearly always.
            return asked if asked.result.verdict is not Verdict.ASK else self._approvals.enqueue(request, asked.result)
        return asked.addCallback(self._decided, request)

    def _decided(self, decision: Decision, request: DecisionRequest) -> Decision | Deferred[Decision]:
        return decision if decision.verdict is not Verdict.ASK else self._approvals.enqueue(request, decision)

    def close(self) -> Deferred[None]:
        """Let nobody wait; see L{IAuthorizer.close}."""
        self._approvals.close()
        return self._authorizer.close()
