"""Revocations in a proxy in memory."""

from __future__ import annotations

from itertools import count
from typing import Any

from egress.admin.revocations import LocalRevocations
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from tests.proxy.fakes import Proxy

_NUMBERS = count(1)


class FakeChain:
    """Authorizers with caches, and grants.

    @ivar cache: the cache of this process; C{None}: there is none.
    @ivar shared_cache: the cache that replicas share; C{None}: there is none.
    @ivar revoked: the revocations that a cache has applied.
    """

    def __init__(self) -> None:
        self.cache: FakeChain | None = self
        self.shared_cache: FakeChain | None = None
        self.revoked: list[Revocation] = []

    def revoke(self, revocation: Revocation) -> int:
        """See L{egress.authz.cache.CachingAuthorizer.revoke}, and the same of the shared cache."""
        self.revoked.append(revocation)
        return 3

    def revoke_matching(self, revocation: Revocation) -> int:
        """See L{egress.authz.approvals.Approvals.revoke_matching}."""
        return 1


def revocation(kind: str = "all", value: str = "") -> Revocation:
    """A revocation."""
    return Revocation(RevocationKind(kind), value, 0.0, "alice", f"rev-{next(_NUMBERS)}")


def revocations_of(proxy: Proxy, chain: FakeChain | None = None) -> LocalRevocations:
    """The object that applies revocations to a proxy; 3 cached decisions and 1 grant match each of them."""
    fake: Any = chain or FakeChain()
    return LocalRevocations(fake, fake, proxy.parts, 1.0)


def revoke(proxy: Proxy, kind: str = "all", value: str = "") -> RevocationCounts:
    """Revoke decisions of a proxy whose connections are few."""
    found: list[RevocationCounts] = []
    revocations_of(proxy).apply(revocation(kind, value)).addCallback(found.append)
    (counts,) = found
    return counts
