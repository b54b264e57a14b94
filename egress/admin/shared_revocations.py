"""Revocations that apply to all replicas with the same shared state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from egress.interfaces import IRevocations
from egress.model.revocation import Revocation, RevocationCounts
from egress.shared.confirmations import Confirmed
from egress.shared.events import Event
from egress.shared.members import Member, node_names
from egress.shared.state import SharedState

_log = Logger()

CONFIRM_WITHIN: Final = 1.5
"""Seconds in which other processes must confirm a revocation."""

# An event that asks for a confirmation, after the event that all versions understand.
_REVOKE: Final = "revoke"


@implementer(IRevocations)
class SharedRevocations:
    """Applies revocations to this process, and sends them to the other ones.

    @param local: applies revocations to this process.
    @param state: the shared state.
    @param is_worker: whether a supervisor asks one of its workers for the confirmations of other processes.
    @ivar on_received: is called with each revocation of another process.
    """

    def __init__(self, local: IRevocations, state: SharedState, *, is_worker: bool = False) -> None:
        self.on_received: Callable[[Revocation], object] = lambda revocation: None
        self._local = local
        self._events = state.events
        self._confirmations = state.confirmations
        self._is_worker = is_worker
        # The events that are confirmed when a revocation is complete, by its id.
        self._unconfirmed: dict[str, list[Event]] = {}
        state.events.on_revocation = self._received
        state.events.handle(_REVOKE, self._asked)

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """See L{IRevocations.apply}.  It waits until other processes have confirmed it."""
        applied: Deferred[RevocationCounts] = self._local.apply(revocation)
        self._events.revoked(revocation)
        if self._is_worker:
            return applied
        both = gatherResults([applied, self.confirm(revocation)], consumeErrors=True)
        return both.addCallback(lambda counts: counts[0] + counts[1])

    def confirm(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Wait until other processes have confirmed a revocation.

        @return: fires with the names of their nodes.
        """
        members = self._events.expected()
        names = [each.member_id for each in members]
        content = {"revocation": revocation.to_json()}
        confirmed = self._confirmations.ask(_REVOKE, content, names, seconds=CONFIRM_WITHIN)
        return confirmed.addCallback(_nodes, members)

    def _received(self, revocation: Revocation) -> None:
        self._unconfirmed[revocation.revocation_id] = []
        self.on_received(revocation)
        self._local.apply(revocation).addCallback(self._applied, revocation)

    def _applied(self, counts: RevocationCounts, revocation: Revocation) -> None:
        _log.info(
            "{who} revoked {subject} on another replica: {counts}",
            who=revocation.author or "an administrator",
            subject=revocation.subject,
            counts=str(counts),
        )
        for event in self._unconfirmed.pop(revocation.revocation_id):
            self._confirmations.confirm(event, {})

    def _asked(self, event: Event) -> None:
        """Confirm a revocation when it is complete."""
        revocation = Revocation.from_json(event["revocation"])
        if self._events.remember(revocation):
            # The other event was lost.
            self._received(revocation)
        if revocation.revocation_id in self._unconfirmed:
            self._unconfirmed[revocation.revocation_id].append(event)
        else:
            self._confirmations.confirm(event, {})


def _nodes(confirmed: Confirmed, members: list[Member]) -> RevocationCounts:
    missing = node_names([each for each in members if each.member_id in confirmed.missing])
    found = [name for name in node_names(members) if name not in missing]
    return RevocationCounts(confirmed=tuple(found), unconfirmed=tuple(missing))
