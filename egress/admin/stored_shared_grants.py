"""Grants of an audit store that replicas share: each process reads them after the others have stored revocations.

A revocation that could not be stored is known only to the processes that run.  So a process that reads the store first
asks all others, with a random number, and each of them responds when all revocations that it knows are stored.  A
revocation from after its response arrives as an event.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from egress.admin.shared_grants import SharedGrants
from egress.admin.stored_grants import StoredGrants
from egress.authz.approvals import Approvals
from egress.model.approval import Grant
from egress.shared.events import Event
from egress.shared.members import node_names
from egress.shared.state import SharedState

ASK_SECONDS: Final = 2.5
"""Seconds in which other processes must respond."""

_MAX_REQUEST_AGE: Final = 10.0
_MAX_REQUESTS: Final = 50
_RESPOND_AFTER: Final = 0.05
_WANTED: Final = "stored-revocations-wanted"
_STORED: Final = "revocations-stored"


@attrs.define(eq=False)
class _Question:
    """What this process asks the others.

    @ivar missing: the ids of the processes that did not respond yet.
    """

    nonce: str
    missing: set[str]
    done: Deferred[None] = attrs.field(factory=Deferred)

    def answered(self, member_id: str) -> None:
        """Register that a process has responded, or has ended."""
        self.missing.discard(member_id)
        if not self.missing and not self.done.called:
            self.done.callback(None)


class StoredSharedGrants:
    """Connects the grants of replicas with the store.

    @param clock: the reactor.
    @param approvals: the grants of this process.
    @param grants: the grants of other processes.
    @param state: the shared state.
    @param stored: the store.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        approvals: Approvals,
        grants: SharedGrants,
        state: SharedState,
        stored: StoredGrants,
    ) -> None:
        self._clock = clock
        self._approvals = approvals
        self._grants = grants
        self._events = state.events
        self._stored = stored
        self._question: _Question | None = None
        self._requests: list[str] = []
        # The number of connections; and at the begin of the current reading.
        self._connections = self._read_with = 0
        made = approvals.on_grant

        def grant_made(grant: Grant) -> None:
            stored.add(grant)
            made(grant)

        approvals.on_grant = grant_made
        approvals.on_revocation = stored.revoke_matching
        grants.on_grant = lambda grant: stored.add(grant, soon=False)
        grants.on_revoked = lambda name, revocation, time: stored.revoke(name, revocation, time, soon=False)
        grants.on_joined = stored.read
        stored.ready = self._ready
        stored.use = self._use
        state.events.connected.append(self._connected)
        state.events.left.append(self._left)
        state.events.urgent.append(lambda: self._question is not None)
        state.events.handle(_WANTED, self._asked)
        state.events.handle(_STORED, self._told)

    def _connected(self) -> None:
        self._connections += 1

    # -- reading

    def _ready(self) -> Deferred[str | None]:
        """Wait until the other processes have stored their revocations."""
        if not self._approvals.register.is_joined:
            return succeed("the shared state cannot be used")
        self._read_with = self._connections
        members = self._events.members()
        if not members:
            return succeed(None)
        question = self._question = _Question(os.urandom(16).hex(), {each.member_id for each in members})
        timer = self._clock.callLater(ASK_SECONDS, question.done.callback, None)
        self._events.send(_WANTED, {"nonce": question.nonce})
        self._events.hurry()

        def finished(_: None) -> str | None:
            self._question = None
            if timer.active():
                timer.cancel()
            missing = node_names([each for each in members if each.member_id in question.missing])
            return f"revocations of {', '.join(missing)} may not be stored" if missing else None

        return question.done.addCallback(finished)

    def _told(self, event: Event) -> None:
        question = self._question
        if question is not None and question.nonce in event["nonces"]:
            question.answered(event["from"])

    def _left(self, member_id: str) -> None:
        if self._question is not None:
            self._question.answered(member_id)

    def _use(self, grants: Sequence[Grant]) -> None:
        register = self._approvals.register
        if not register.is_joined or self._read_with != self._connections:
            # Without a connection, this process has received no revocations.
            self._stored.read()
            return
        accepted = [grant for grant in grants if register.accepts(grant)]
        register.confirm_stored(accepted)
        for grant in accepted:
            self._approvals.grant(grant)
            self._grants.on_grant(grant)

    # -- responding

    def _asked(self, event: Event) -> None:
        if self._events.age(event) > _MAX_REQUEST_AGE:
            return
        if not self._requests:
            self._clock.callLater(_RESPOND_AFTER, self._respond)
        self._requests = [*self._requests, event["nonce"]][:_MAX_REQUESTS]

    def _respond(self) -> None:
        """Respond to several requests together, if all revocations are stored."""
        requests, self._requests = self._requests, []

        def respond(_: bool) -> None:
            if self._stored.is_stored and self._approvals.register.is_joined:
                self._events.send(_STORED, {"nonces": requests})

        self._stored.stored().addCallback(respond)
