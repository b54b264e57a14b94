"""The effect of a revocation on one process: its cached decisions, its grants, and its running requests and tunnels."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from egress.authz.approvals import Approvals
from egress.authz.chain import AuthorizerChain
from egress.interfaces import IRevocations
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind

if TYPE_CHECKING:
    from egress.proxy.connection_registry import Session
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_log = Logger()

# The time that one revocation may use in one turn of the reactor, in seconds. Thousands of connections end within a
# second, and the other connections do not wait long.
SLICE: Final = 0.02
# The number of revocations that are recognized when they arrive again.
MAX_APPLIED: Final = 1000


@implementer(IRevocations)
class LocalRevocations:
    """Applies revocations to this process, each of them once: it can arrive by several ways.

    @param chain: the authorizers, with the cache of decisions.
    @param approvals: the grants.
    @param context: the client connections.
    @param time_slice: seconds that a revocation may use in one turn of the reactor.
    """

    def __init__(
        self, chain: AuthorizerChain, approvals: Approvals, context: ProxyContext, time_slice: float = SLICE
    ) -> None:
        self._chain = chain
        self._approvals = approvals
        self._context = context
        self._time_slice = time_slice
        self._counts: Counter[RevocationKind] = Counter()
        self._applied: deque[str] = deque(maxlen=MAX_APPLIED)

    def counts(self) -> Mapping[str, int]:
        """Return the number of revocations by kind, since the start."""
        return {kind.value: self._counts[kind] for kind in RevocationKind}

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """See L{IRevocations.apply}."""
        if revocation.revocation_id in self._applied:
            return succeed(RevocationCounts())
        self._applied.append(revocation.revocation_id)
        self._counts[revocation.kind] += 1
        # First, so that no decision in flight escapes: it is compared with the revocations when it arrives.
        cutoff = self._context.authz.revocations.add(revocation)
        cached, grants = self._drop_cached(revocation), self._approvals.revoke_matching(revocation)
        result: Deferred[RevocationCounts] = Deferred()
        result.addCallback(lambda _: RevocationCounts(cached, grants, cutoff.tunnels, cutoff.requests))
        # A session that begins later has no decision from before.
        self._cut(cutoff, self._context.sessions.sessions(), result)
        return result

    def _drop_cached(self, revocation: Revocation) -> int:
        """Drop the cached decisions, and use no earlier decision that replicas share.

        @return: the number of decisions in this process.
        """
        cache, shared_cache = self._chain.cache, self._chain.shared_cache
        if shared_cache is not None:
            shared_cache.revoke(revocation)
        return 0 if cache is None else cache.revoke(revocation)

    def _cut(self, cutoff: Cutoff, remaining: list[Session], result: Deferred[RevocationCounts]) -> None:
        """End the revoked requests and tunnels, in as many turns of the reactor as it takes."""
        clock, sessions = self._context.clock, self._context.sessions
        end = clock.seconds() + self._time_slice
        while remaining:
            session = remaining.pop()
            if session not in sessions:
                continue
            _revoke(session, cutoff)
            if clock.seconds() >= end:
                break
        if remaining:
            clock.callLater(0, self._cut, cutoff, remaining, result)
        else:
            result.callback(None)  # type: ignore[arg-type]


def _revoke(session: Session, cutoff: Cutoff) -> None:
    """End the revoked requests of one session.  A defect of one session must not keep the others open."""
    for end in (partial(session.revoke, cutoff), session.abort):
        try:
            end()
        except Exception:  # noqa: BLE001 - the connection is aborted
            _log.failure("a revocation could not end a request")
        else:
            return
