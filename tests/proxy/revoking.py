"""Revocations in a proxy in memory."""

from __future__ import annotations

from egress.admin.revocations import LocalRevocations
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from tests.proxy.fakes import Proxy


class FakeGrants:
    """Grants and cached decisions, which record the revocations."""

    def __init__(self) -> None:
        self.seen: list[Revocation] = []

    def revoke(self, revocation: Revocation) -> int:
        """See L{egress.authz.chain.AuthorizerChain.revoke}."""
        self.seen.append(revocation)
        return 3

    def revoke_matching(self, revocation: Revocation) -> int:
        """See L{egress.authz.approvals.Approvals.revoke_matching}."""
        self.seen.append(revocation)
        return 1


def revocation(kind: str = "all", value: str = "") -> Revocation:
    """A revocation."""
    return Revocation(RevocationKind(kind), value, 0.0, "alice", "rev-1")


def revocations_of(proxy: Proxy, time_slice: float = 1.0) -> LocalRevocations:
    """What applies revocations to a proxy; 3 cached decisions and 1 grant match each of them."""
    fake = FakeGrants()
    return LocalRevocations(fake, fake, proxy.parts, time_slice)  # type: ignore[arg-type]


def revoke(proxy: Proxy, kind: str = "all", value: str = "") -> RevocationCounts:
    """Revoke decisions of a proxy whose connections are few."""
    found: list[RevocationCounts] = []
    revocations_of(proxy).apply(revocation(kind, value)).addCallback(found.append)
    (counts,) = found
    return counts
