"""Which grants of an audit store are in force, as far as its revocations tell."""

from __future__ import annotations

from collections.abc import Sequence

from egress.authz.grant_register import MAX_SKEW, GrantRegister
from egress.model.approval import Grant
from egress.store.grant_rows import GrantRevocation, GrantsRead
from egress.store.grant_table import MAX_REVOCATIONS


def covers(revocation: GrantRevocation, grant: Grant) -> bool:
    """Return whether a revocation can be later than a grant that it covers."""
    if grant.created > revocation.time + MAX_SKEW or revocation.revocation_id in grant.after:
        return False
    matching = revocation.matching
    return revocation.value == grant.grant_id if matching is None else matching.matches_grant(grant.subject)


def register(revocations: GrantRegister, revocation: GrantRevocation) -> None:
    """Add a revocation to others."""
    matching = revocation.matching
    if matching is None:
        revocations.revoke(revocation.value, revocation.revocation_id, revocation.time)
    else:
        revocations.revoke_matching(matching)


def in_force(found: GrantsRead) -> list[Grant]:
    """Return the grants that no revocation covers, the last one for each id."""
    known = GrantRegister(shares=True)
    revocations: Sequence[GrantRevocation] = found.revocations
    if len(revocations) >= MAX_REVOCATIONS:
        # Earlier ones were not read.
        oldest = revocations[0]
        register(known, GrantRevocation.until(oldest.time, oldest.revocation_id))
    for revocation in revocations:
        register(known, revocation)
    latest: dict[str, Grant] = {}
    for grant in sorted(found.grants, key=lambda each: each.created):
        if known.accepts(grant):
            latest[grant.grant_id] = grant
    return list(latest.values())
