"""Approvals of all replicas with the same shared state: each of them lists the pending ones, and can resolve them.

Each process writes a sealed list of its pending approvals.  An approver's answer is an event with the tokens of the
pending approvals that it is for.  A process makes a new token for each pending approval, so an approver's answer that
someone repeats later has no effect.

One approver's answer makes one grant.  Its event has the times of the grant, and each process in which the requests
wait adds their scope: so they all make the same one.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.admin.api import Unanswered
from egress.admin.shared_grants import SharedGrants
from egress.authz.approvals import MAX_ANSWER_AGE, MAX_LISTED, MAX_PREVIEWS, Approvals
from egress.model.approval import ApprovalAnswer, Grant, GrantTimes
from egress.model.pending import bounded
from egress.model.redact import redact_url
from egress.shared.confirmations import Confirmed
from egress.shared.events import MAX_EVENT, MAX_SKEW, Event
from egress.shared.members import Member
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.state import SharedState

_log = Logger()

MAX_LIST: Final = 192 * 1024
"""The maximum size of the list of one process, in bytes."""

MAX_HOLDERS: Final = 64
"""The maximum number of processes whose lists are read."""

WITHIN: Final = 1.5
"""Seconds in which other processes must confirm an approver's answer."""

# A part of a list is for the entries, and the remainder for their previews.
_MAX_ENTRIES: Final = MAX_LIST // 2
# What sealing and the members of the document add.
_ENVELOPE: Final = 4096
_MAX_ENDED: Final = 1000
# Seconds between two lists of one process.
_EVERY: Final = 0.2
_REFRESH: Final = 5.0
_LIFETIME: Final = 16.0
_MAX_GRANT: Final = MAX_EVENT * 3 // 4
_PENDING: Final = b"pending"
_ANSWER: Final = "answer"


@attrs.frozen
class AnsweredElsewhere:
    """The effect of an approver's answer on other processes.

    @ivar resolved: the number of requests that it completed.
    @ivar grant: the grant that it made, if it made one.
    @ivar unconfirmed: the names of the nodes that did not confirm it.
    """

    resolved: int = 0
    grant: Grant | None = None
    unconfirmed: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Serialize the effect for the supervisor."""
        grant = None if self.grant is None else self.grant.to_json()
        return {"resolved": self.resolved, "grant": grant, "unconfirmed": list(self.unconfirmed)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AnsweredElsewhere:
        """Parse what a worker serialized."""
        grant = None if document["grant"] is None else Grant.from_json(document["grant"])
        return cls(document["resolved"], grant, document["unconfirmed"])


def answered(resolved: int, grant: Grant | None, unconfirmed: Sequence[str]) -> dict[str, Any]:
    """Return the result of an approver's answer, for the approver.

    @raise Unanswered: if it has no known effect.
    """
    if not resolved and unconfirmed:
        raise Unanswered(f"not confirmed by {', '.join(unconfirmed)}: list the pending approvals again")
    found = {"resolved": resolved, "grant": None if grant is None else grant.to_display()}
    return {**found, "unconfirmed": list(unconfirmed)} if unconfirmed else found


class SharedApprovals:
    """The pending approvals of other processes, and this one's for them.

    @param clock: the reactor.
    @param wall_clock: returns seconds since the epoch.
    @param approvals: the pending approvals of this process.
    @param state: the shared state.
    @ivar grants: the grants of all replicas.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        *,
        approvals: Approvals,
        state: SharedState,
    ) -> None:
        self.grants = SharedGrants(clock, wall_clock, approvals=approvals, state=state)
        self._clock = clock
        self._wall_clock = wall_clock
        self._approvals = approvals
        self._client = state.client
        self._events = state.events
        self._confirmations = state.confirmations
        self._keys = state.keys("approvals")
        self._group = self._keys.group(_PENDING)
        self._timer: IDelayedCall | None = None
        self._written_at = float("-inf")
        # The tokens of pending approvals that approvers have resolved here: a list can be older.
        self._ended: deque[str] = deque(maxlen=_MAX_ENDED)
        # The tokens of pending approvals from before the last connection: an approver's answer can be older, too.
        self._earlier: frozenset[str] = frozenset()
        approvals.observer = self._changed
        state.events.urgent.append(lambda: approvals.pending > 0)
        state.events.connected.append(self._connected)
        state.events.handle(_ANSWER, self._answer)

    def _connected(self) -> None:
        self._earlier = frozenset(self._approvals.tokens.values())
        self._changed()

    # -- the list of this process

    def _changed(self) -> None:
        """Write the list soon."""
        now = self._clock.seconds()
        at = max(now, self._written_at + _EVERY)
        if self._timer is None:
            self._timer = self._clock.callLater(at - now, self._write)
        elif self._timer.getTime() > at:
            self._timer.reset(at - now)
        self._events.hurry()

    def _write(self) -> None:
        self._timer = None
        self._written_at = self._clock.seconds()
        name = self._name(self._events.member_id)
        pending = _fitting(self._own())
        if pending:
            self._timer = self._clock.callLater(_REFRESH, self._write)
        if not self._client.is_ready:
            return
        if pending:
            document = {"time": self._wall_clock(), "pending": pending}
            value = self._keys.seal(name, json.dumps(document).encode("ascii"))
            written = self._client.call("SET", name, value, "PX", int(_LIFETIME * 1000))
        else:
            written = self._client.call("DEL", name)
        written.addErrback(_not_done)
        self._events.tell_waiting(bool(pending))

    def _own(self) -> list[dict[str, Any]]:
        tokens, grants = self._approvals.tokens, self._approvals.grant_ids
        sender = {"holder": self._events.member_id, "node": self._events.node}
        pending = self._approvals.listed(redact_url)["pending"]
        return [{**each, **sender, "token": tokens[each["id"]], "grantId": grants[each["id"]]} for each in pending]

    def _name(self, member_id: str) -> bytes:
        return self._keys.name(self._group, _PENDING, member_id.encode("ascii"))

    # -- the lists of other processes

    def listed(self) -> Deferred[list[dict[str, Any]]]:
        """Return the pending approvals of this process, and of others (L{egress.model.pending})."""

        def both(elsewhere: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return bounded([*self._own(), *elsewhere], most=MAX_LISTED, previews=MAX_PREVIEWS)

        return self._elsewhere().addCallback(both)

    def _elsewhere(self) -> Deferred[list[dict[str, Any]]]:
        holders = [each for each in self._events.members() if each.is_waiting][:MAX_HOLDERS]
        return gatherResults([self._read(each) for each in holders]).addCallback(_joined)

    def _read(self, holder: Member) -> Deferred[list[dict[str, Any]] | None]:
        """Return the entries of a list; C{None} if it cannot be read."""
        name = self._name(holder.member_id)
        read = self._client.call("GETRANGE", name, 0, MAX_LIST + _ENVELOPE)
        return read.addCallback(self._list_of, name, holder).addErrback(_unread)

    def _list_of(self, value: bytes, name: bytes, holder: Member) -> list[dict[str, Any]]:
        """Return the entries of a list that its holder has written recently."""
        if not value:
            return []
        content = self._keys.unseal(name, value)
        if content is None:
            self._events.rejected += 1
            return []
        document, now = json.loads(content), self._wall_clock()
        if abs(now - document["time"]) > _LIFETIME + MAX_SKEW:
            return []
        return [
            {**each, "holder": holder.member_id, "node": holder.node}
            for each in document["pending"]
            if each["until"] > now and each["token"] not in self._ended and each["grantId"]
        ]

    # -- what approvers decide

    def answer(
        self, approval_id: str, answer: ApprovalAnswer, grant: Grant | None = None
    ) -> Deferred[AnsweredElsewhere]:
        """Send an approver's answer for a pending approval to the processes in which its requests wait.

        @param grant: the grant that the approver's answer has made on this replica.
        """

        # Another worker can have listed the requests of a process that does not seem to wait here yet.
        members = sorted(self._events.members(), key=lambda each: not each.is_waiting)[:MAX_HOLDERS]

        def ask(lists: list[list[dict[str, Any]] | None]) -> AnsweredElsewhere | Deferred[AnsweredElsewhere]:
            elsewhere, read = _joined(lists), zip(members, lists, strict=True)
            unread = {each.node for each, entries in read if entries is None and each.is_waiting}
            entries = [each for each in elsewhere if each["id"] == approval_id]
            targets = {each["holder"]: each["token"] for each in entries}
            content = {"id": approval_id, "answer": answer.to_json(), "targets": targets}
            others: set[str] = set()
            if answer.seconds is not None:
                grant_ids = {each["grantId"] for each in entries} if grant is None else {grant.grant_id}
                others = {each["holder"] for each in elsewhere if each["grantId"] in grant_ids} - targets.keys()
                content |= self._grant_content(answer.seconds, grant, grant_ids)
            if not targets and not others:
                return AnsweredElsewhere(unconfirmed=sorted(unread))
            nodes = {each["holder"]: each["node"] for each in entries}
            asked = {**content, "others": sorted(others)}
            confirmed = self._confirmations.ask(_ANSWER, asked, targets.keys() | others, seconds=WITHIN)
            return confirmed.addCallback(self._effect, targets, nodes, unread)

        return gatherResults([self._read(each) for each in members]).addCallback(ask)

    def _grant_content(self, seconds: float, grant: Grant | None, grant_ids: Collection[str]) -> dict[str, Any]:
        """Return what the event of an approver's answer has for its grant."""
        now = self._wall_clock()
        times = self._approvals.register.times(now, now + seconds) if grant is None else grant.times
        # The grant of a moment ago was sent with the connections of that time.
        seen = [*self._events.new_connections(), self._events.connection] if grant is None else []
        return {"grant": {**times.to_json(), "id": next(iter(grant_ids), "")}, "seen": seen}

    def _effect(
        self, confirmed: Confirmed, targets: Mapping[str, str], nodes: Mapping[str, str], unread: set[str]
    ) -> AnsweredElsewhere:
        found = [AnsweredElsewhere.from_json(result) for result in confirmed.results.values()]
        # If a revocation was later, they still wait.
        self._ended.extend(
            targets[each] for each, result in confirmed.results.items() if each in targets and not result["waits"]
        )
        return AnsweredElsewhere(
            sum(each.resolved for each in found),
            next((each.grant for each in found if each.grant is not None), None),
            # The others only count.
            sorted(unread | {nodes[each] for each in confirmed.missing if each in targets}),
        )

    def _answer(self, event: Event) -> None:
        """Apply the answer of an approver of another replica, if it is for a pending approval of this process."""
        member_id = self._events.member_id
        token = event["targets"].get(member_id)
        if abs(self._wall_clock() - event["time"]) > MAX_ANSWER_AGE:
            return
        if token is not None:
            self._apply(event, token)
        elif member_id in event["others"]:
            # The grant allows other requests here.  It is not made here, because its requests do not wait here.
            key = event["grant"]["id"], event["grant"]["created"]
            self.grants.when_received(key, partial(self._confirm, event, 0))

    def _apply(self, event: Event, token: str) -> None:
        answer = ApprovalAnswer.parse(event["answer"])
        times = None if answer.seconds is None else GrantTimes.from_json(event["grant"])
        is_current = token not in self._earlier
        resolved, grant = self._approvals.answer(event["id"], answer, token, times=times, is_current=is_current)
        if grant is not None:
            self.grants.publish_for(grant, event["seen"])
        if resolved:
            _log.info(
                "{who} {verdict} pending approval {subject} on {node}",
                who=answer.who,
                verdict="allowed" if answer.allow else "denied",
                subject=event["id"],
                node=event["node"],
            )
        # A longer grant does not fit into the confirmation; it is in the list of this replica.
        is_short = grant is not None and len(json.dumps(grant.to_json())) <= _MAX_GRANT
        self._confirm(event, resolved, grant if is_short else None)

    def _confirm(self, event: Event, resolved: int, grant: Grant | None = None) -> None:
        """Confirm an approver's answer, with the requests that it and the event of its grant have resolved here."""
        if "grant" in event:
            resolved += self.grants.take_resolved((event["grant"]["id"], event["grant"]["created"]))
        waits = event["targets"].get(self._events.member_id) in self._approvals.tokens.values()
        self._confirmations.confirm(event, {**AnsweredElsewhere(resolved, grant).to_json(), "waits": waits})


def _fitting(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first entries, as many as a list may have, and as many previews."""
    size, most = 0, 0
    for entry in entries:
        size += len(json.dumps({**entry, "preview": None}))
        if size > _MAX_ENTRIES:
            break
        most += 1
    return bounded(entries, most=most, previews=MAX_LIST - _MAX_ENTRIES)


def _not_done(failure: Failure) -> None:
    # The list is written again with the next connection.
    failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]


def _joined(lists: Iterable[list[dict[str, Any]] | None]) -> list[dict[str, Any]]:
    return [entry for entries in lists for entry in entries or ()]


def _unread(failure: Failure) -> None:
    # The engine cannot be used, or a newer version has written the list.
    failure.trap(*UNUSABLE, LookupError, TypeError, ValueError)  # type: ignore[no-untyped-call]


def shared_approvals(
    clock: IReactorTime, wall_clock: Callable[[], float], approvals: Approvals, state: SharedState | None
) -> SharedApprovals | None:
    """Return the approvals of all replicas, if there is shared state."""
    if state is None:
        return None
    return SharedApprovals(clock, wall_clock, approvals=approvals, state=state)
