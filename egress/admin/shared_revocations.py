"""Revocations that apply to all replicas with the same shared state."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from egress.interfaces import IRevocations
from egress.model.revocation import Revocation, RevocationCounts
from egress.shared.events import SharedEvents

_log = Logger()


@implementer(IRevocations)
class SharedRevocations:
    """Applies revocations to this process, and sends them to the other ones.

    @param local: applies revocations to this process.
    @param events: the events of other replicas.
    """

    def __init__(self, local: IRevocations, events: SharedEvents) -> None:
        self._local = local
        self._events = events
        events.on_revocation = self._received

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """See L{IRevocations.apply}.  It does not wait for other processes."""
        applied: Deferred[RevocationCounts] = self._local.apply(revocation)
        self._events.revoked(revocation)
        return applied

    def _received(self, revocation: Revocation) -> None:
        self._local.apply(revocation).addCallback(self._log, revocation)

    def _log(self, counts: RevocationCounts, revocation: Revocation) -> None:
        _log.info(
            "{who} revoked {subject} on another replica: {counts}",
            who=revocation.author or "an administrator",
            subject=revocation.subject,
            counts=str(counts),
        )
