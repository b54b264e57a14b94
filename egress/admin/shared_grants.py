"""Grants of all replicas with the same shared state: one that is made on a replica applies to all of them.

A grant and its revocation are events.  A process that connects to the engine may have missed some of them.  So it asks
with a random number, and others respond with the grants that they know, and with the time from which on they know all
revocations.  Until then it uses no earlier grant, and requests wait for an approver.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.admin.api import Unanswered
from egress.authz.approvals import Approvals
from egress.authz.grant_register import GrantKey, Witness, key_of
from egress.model.approval import Grant
from egress.shared.confirmations import Confirmed
from egress.shared.events import MAX_SKEW, Event
from egress.shared.members import Member
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.state import SharedState

_log = Logger()

ALONE_AFTER: Final = 1.5
"""Seconds after which a process without a response continues as the first one."""

RETURN_WITHIN: Final = 7.0
"""Seconds in which the members of before a failure of the engine must respond, so that grants survive it."""

CONFIRM_WITHIN: Final = 1.5
"""Seconds in which other processes must confirm that a grant is revoked."""

MAX_SNAPSHOT: Final = 512 * 1024
"""The maximum size of the grants in one response, in bytes; those that expire first are left out."""

NOT_STORED: Final = (
    "the audit store does not have the revocation yet, so the grant may apply after a restart: try again"
)
"""The error of a revocation that is in force, and is lost when all replicas restart."""

# A request gets one response, soon after it was sent.
_MAX_REQUEST_AGE: Final = 10.0
_MAX_REQUESTS: Final = 50
_RESPOND_AFTER: Final = 0.05
# The grants whose events were received last.
_MAX_RECEIVED: Final = 1000
_LIFETIME: Final = 10.0
_ENVELOPE: Final = 4096
_ID_BYTES: Final = 8

_SNAPSHOT: Final = b"grants"
_WANTED: Final = "grants-wanted"
_KNOWN: Final = "grants-known"
_GRANT: Final = "grant"
_REVOKED: Final = "grant-revoked"


@attrs.frozen
class GrantRevoked:
    """The effect of the revocation of one grant.

    @ivar existed: whether a process had it.
    @ivar unconfirmed: the names of the nodes that did not confirm it.
    @ivar is_stored: whether the audit store, if it keeps grants, has the revocation.
    """

    existed: bool
    unconfirmed: Sequence[str]
    is_stored: bool = True

    def result(self) -> bool:
        """Return whether the grant existed.

        @raise Unanswered: if a process did not confirm, or the revocation is not stored.
        """
        if self.unconfirmed:
            names = ", ".join(self.unconfirmed)
            raise Unanswered(f"not confirmed by {names}, which may still apply the grant: try again")
        if not self.is_stored:
            raise Unanswered(NOT_STORED)
        return self.existed

    def to_json(self) -> dict[str, Any]:
        """Serialize the effect for the supervisor."""
        return {"existed": self.existed, "unconfirmed": list(self.unconfirmed), "stored": self.is_stored}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GrantRevoked:
        """Parse what a worker serialized."""
        return cls(document["existed"], document["unconfirmed"], document.get("stored", True))


class SharedGrants:
    """The grants of other processes, and this one's for them.

    @param clock: the reactor.
    @param wall_clock: returns seconds since the epoch.
    @param approvals: the grants of this process.
    @param state: the shared state.
    @ivar on_grant: is called with each grant that was made here or elsewhere.
    @ivar on_revoked: is called with the id of each grant that was revoked here or elsewhere, and with the id and the
        time of the revocation.
    @ivar on_joined: is called when grants can be used, and when another process has told what it knows later.
    """

    def __init__(
        self, clock: IReactorTime, wall_clock: Callable[[], float], *, approvals: Approvals, state: SharedState
    ) -> None:
        self.on_grant: Callable[[Grant], object] = lambda grant: None
        self.on_revoked: Callable[[str, str, float], object] = lambda grant_id, revocation_id, time: None
        self.on_joined: Callable[[], object] = lambda: None
        self._clock = clock
        self._wall_clock = wall_clock
        self._approvals = approvals
        self._register = approvals.register
        self._client = state.client
        self._events = state.events
        self._confirmations = state.confirmations
        self._keys = state.keys("grants")
        self._group = self._keys.group(_SNAPSHOT)
        self._nonce = ""
        self._connected_at = self._lost_at = 0.0
        self._timer: IDelayedCall | None = None
        # The members that must respond; None: this process never knew all revocations.
        self._expected: set[str] | None = None
        self._requests: list[str] = []
        # The requests that got a response before this process knew all revocations.
        self._early: list[str] = []
        # By the grants whose events were received last: the number of requests that they resolved, until an approver
        # gets it.
        self._resolved: OrderedDict[GrantKey, int] = OrderedDict()
        # What waits for the events of grants.
        self._awaited: OrderedDict[GrantKey, Callable[[], object]] = OrderedDict()
        self._register.shares = True
        self._register.lose()
        approvals.on_grant = self._made
        state.client.on_lost = self._lost
        state.events.connected.append(self._connected)
        state.events.urgent.append(lambda: self._timer is not None)
        for kind, handler in (
            (_GRANT, self._received),
            (_REVOKED, self._revoked),
            (_WANTED, self._asked),
            (_KNOWN, self._told),
        ):
            state.events.handle(kind, handler)

    # -- new grants

    def _made(self, grant: Grant) -> None:
        self._publish(grant)
        self.on_grant(grant)

    def _publish(self, grant: Grant) -> None:
        self._send(grant, self._events.new_connections())

    def _send(self, grant: Grant, seen: Sequence[str]) -> None:
        self._events.send(_GRANT, {"grant": grant.to_json(), "seen": seen})

    def publish_for(self, grant: Grant, seen: Sequence[str]) -> None:
        """Send a grant that an approver of another replica has made, if no event had it yet.

        @param seen: the new connections that the other replica knew when the approver answered.
        """
        if key_of(grant) not in self._resolved:
            self._send(grant, seen)
        self.on_grant(grant)

    def _received(self, event: Event) -> None:
        grant = Grant.from_json(event["grant"])
        if self._nonce and self._events.connection in event["seen"] and self._register.accepts(grant):
            # The grant was made after this process connected, so it misses no revocation of the grant.
            self._register.confirm(grant)
        key = key_of(grant)
        self._resolved[key] = self._resolved.get(key, 0) + self._approvals.grant(grant)
        if len(self._resolved) > _MAX_RECEIVED:
            self._resolved.popitem(last=False)
        self.on_grant(grant)
        awaited = self._awaited.pop(key, None)
        if awaited is not None:
            awaited()

    def take_resolved(self, key: GrantKey) -> int:
        """Return the number of requests that the events of a grant resolved here, once."""
        resolved = self._resolved.get(key, 0)
        if resolved:
            self._resolved[key] = 0
        return resolved

    def when_received(self, key: GrantKey, received: Callable[[], object]) -> None:
        """Call a function when an event of a grant was received."""
        if key in self._resolved:
            received()
            return
        self._awaited[key] = received
        if len(self._awaited) > _MAX_REQUESTS:
            self._awaited.popitem(last=False)

    # -- revocations

    def revoke(self, grant_id: str) -> Deferred[GrantRevoked]:
        """Revoke a grant in all processes, and wait until they have confirmed it."""
        now, revocation_id = self._wall_clock(), os.urandom(_ID_BYTES).hex()
        self._register.revoke(grant_id, revocation_id, now)
        existed = self._approvals.revoke(grant_id)
        self.on_revoked(grant_id, revocation_id, now)
        members = self._events.expected()
        content = {"id": grant_id, "revocation": revocation_id, "revokedAt": now}
        names = [each.member_id for each in members]
        confirmed = self._confirmations.ask(_REVOKED, content, names, seconds=CONFIRM_WITHIN, again=True)
        return confirmed.addCallback(_effect, members, existed)

    def _revoked(self, event: Event) -> None:
        grant_id, revocation_id, time = event["id"], event["revocation"], event["revokedAt"]
        is_new = self._register.revoke(grant_id, revocation_id, time)
        existed = is_new and self._approvals.revoke(grant_id)
        self.on_revoked(grant_id, revocation_id, time)
        self._confirmations.confirm(event, {"existed": existed})

    # -- connections

    def _lost(self) -> None:
        """Use no grant from before, because others can revoke it now."""
        if self._register.is_joined:
            self._expected = {each.member_id for each in self._events.members()}
            self._lost_at = self._wall_clock()
        self._register.lose()
        self._nonce = ""
        self._cancel()

    def _connected(self) -> None:
        """Ask for grants and revocations that this process may have missed."""
        self._nonce = os.urandom(16).hex()
        self._connected_at = self._wall_clock()
        self._early = []
        self._cancel()
        self._events.send(_WANTED, {"nonce": self._nonce})
        if self._expected is None:
            self._register.continue_alone(self._connected_at + MAX_SKEW)
            self._timer = self._clock.callLater(ALONE_AFTER, self._join)
        elif self._expected:
            self._timer = self._clock.callLater(RETURN_WITHIN, self._without_others)
        else:
            # There was no other process that could revoke a grant.
            self._join()
        self._events.hurry()

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _without_others(self) -> None:
        """Continue without the earlier grants, because a process that was a member may have revoked them."""
        self._register.continue_alone(self._connected_at + MAX_SKEW)
        self._join()

    def _join(self) -> None:
        self._cancel()
        if self._early:
            self._respond_to(self._early)
            self._early = []
        own = self._register.own
        self._expected = set()
        self._register.join()
        for grant in self._approvals.grants:
            if key_of(grant) in own:
                self._publish(grant)
        self._approvals.apply_grants()
        _log.info("shared state: grants can be used")
        self.on_joined()

    # -- requests of other processes

    def _asked(self, event: Event) -> None:
        if self._wall_clock() - event["time"] > _MAX_REQUEST_AGE:
            return
        if self._expected is not None:
            self._respond_to([event["nonce"]])

    def _respond_to(self, nonces: Sequence[str]) -> None:
        """Respond soon, to several requests together."""
        if not self._requests:
            self._clock.callLater(_RESPOND_AFTER, self._respond)
        self._requests = [*self._requests, *nonces][:_MAX_REQUESTS]

    def _respond(self) -> None:
        requests, self._requests = self._requests, []
        if not self._client.is_ready:
            return
        content = {
            "nonces": requests,
            "horizon": self._register.horizon,
            "revoked": self._register.last_revocation,
            "joined": self._register.is_joined,
            "snapshot": self._write_snapshot(),
        }
        self._events.send(_KNOWN, content)
        if not self._register.is_joined:
            self._early = [*self._early, *requests][:_MAX_REQUESTS]

    def _write_snapshot(self) -> str | None:
        """Write the grants that are in force as far as this process knows.

        @return: what identifies them.
        """
        grants: list[dict[str, Any]] = []
        size = 0
        for grant in reversed(self._approvals.grants):
            document = grant.to_json()
            size += len(json.dumps(document)) + 1
            if size > MAX_SNAPSHOT:
                break
            if self._register.is_known(grant):
                grants.append(document)
        if not grants:
            return None
        snapshot = os.urandom(16).hex()
        name = self._name(snapshot)
        value = self._keys.seal(name, json.dumps(grants, separators=(",", ":")).encode("ascii"))
        self._client.call("SET", name, value, "PX", int(_LIFETIME * 1000)).addErrback(_ignore)
        return snapshot

    def _name(self, snapshot: str) -> bytes:
        return self._keys.name(self._group, _SNAPSHOT, snapshot.encode("ascii"))

    # -- responses of other processes

    def _told(self, event: Event) -> None:
        if not self._nonce or self._nonce not in event["nonces"]:
            return
        if event["snapshot"] is None:
            self._knows(event, [])
            return
        name, nonce = self._name(event["snapshot"]), self._nonce

        def use(grants: list[Grant] | None) -> None:
            if grants is not None and self._nonce == nonce:
                self._knows(event, grants)

        read = self._client.call("GETRANGE", name, 0, MAX_SNAPSHOT + _ENVELOPE)
        read.addCallback(self._grants_of, name).addErrback(_ignore).addCallback(use)

    def _grants_of(self, value: bytes, name: bytes) -> list[Grant]:
        """Return the grants of a response; none if someone removed or changed them."""
        content = self._keys.unseal(name, value)
        if content is None:
            self._events.rejected += 1
            return []
        return [Grant.from_json(each) for each in json.loads(content)]

    def _knows(self, event: Event, grants: Sequence[Grant]) -> None:
        """Use what another process knows."""
        horizon, revoked, is_joined = event["horizon"], event["revoked"], event["joined"]
        expected, keys = self._expected, frozenset(map(key_of, grants))
        if is_joined and horizon < self._register.alone_since:
            self._register.follow(Witness(max(horizon, revoked), keys))
        else:
            # This process knows as much from before, so only the revocations matter.
            self._register.hear(Witness(revoked, keys))
        for grant in grants:
            self._approvals.grant(grant)
            self.on_grant(grant)
        if expected is not None:
            expected.discard(event["from"])
        if self._register.is_joined:
            self._approvals.apply_grants()
            self.on_joined()
        elif self._is_enough(event):
            self._join()

    def _is_enough(self, event: Event) -> bool:
        """Return whether this process knows all revocations after a response."""
        if self._expected is None:
            return bool(event["joined"])
        return not self._expected or (event["joined"] and event["horizon"] + MAX_SKEW <= self._lost_at)


def _effect(confirmed: Confirmed, members: Sequence[Member], existed: bool) -> GrantRevoked:
    existed = existed or any(result["existed"] for result in confirmed.results.values())
    return GrantRevoked(existed, sorted({each.node for each in members if each.member_id in confirmed.missing}))


def _ignore(failure: Failure) -> None:
    # The engine cannot be used, or a newer version has written the value.
    failure.trap(*UNUSABLE, LookupError, TypeError, ValueError)  # type: ignore[no-untyped-call]
