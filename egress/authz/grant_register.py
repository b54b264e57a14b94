"""Which grants are in force, if replicas share them.

A grant can arrive late, or again, because someone who can write to the engine repeats it.  So each process remembers
the revocations that it knows, and a grant must be newer than each of them that covers it.  A process that connects does
not know the earlier revocations: a grant from before must be known to each of the processes that tell what they know.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

import attrs

from egress.model.approval import Grant, GrantTimes
from egress.model.revocation import Revocation

MAX_REVOCATIONS: Final = 256
"""The maximum number of revocations that are compared with grants that arrive."""

MAX_IDS: Final = 10_000
"""The maximum number of ids of grants whose last revocation, and last grant, are remembered."""

MAX_SKEW: Final = 2.0
"""Seconds by which the clocks of replicas may differ."""

GrantKey = tuple[str, float]
"""The id of a grant, and when it was made."""

MAX_AFTER: Final = 32
"""The maximum number of revocations that a grant names; others void it."""

_NEVER: Final = float("-inf")
# The difference between the times of two grants with one id.
_STEP: Final = 1e-4


@attrs.frozen
class Witness:
    """What another process knows.

    @ivar since: the time from which on no revocation is missing: a grant that was made later is in force.
    @ivar grants: the earlier grants that are in force.
    """

    since: float
    grants: frozenset[GrantKey]

    def confirms(self, key: GrantKey) -> bool:
        """Return whether a grant is in force, as far as the process knows."""
        return key[1] > self.since or key in self.grants

    def and_also(self, other: Witness) -> Witness:
        """Return what two processes know together: a grant must be in force for both."""
        both = frozenset(key for key in self.grants | other.grants if self.confirms(key) and other.confirms(key))
        return Witness(max(self.since, other.since), both)

    def add(self, *keys: GrantKey) -> Witness:
        """Return the same with other grants."""
        return Witness(self.since, self.grants.union(keys))


def key_of(grant: Grant) -> GrantKey:
    """Return what identifies a grant among all that had the same scope."""
    return grant.grant_id, grant.created


class GrantRegister:
    """Decides which grants are in force in one process.

    @ivar shares: whether grants can arrive from other replicas, late or again.
    @ivar is_joined: whether this process knows the revocations of all others; always if it shares nothing.
    """

    def __init__(self, *, shares: bool = False) -> None:
        self.shares = shares
        self.is_joined = True
        self._revocations: deque[Revocation] = deque()
        # By the id of a grant: the id and the time of its last revocation, and when the last grant was made.
        self._revoked: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._latest: OrderedDict[str, float] = OrderedDict()
        # No grant that was made before is accepted, because its revocation may be forgotten.
        self._floor = _NEVER
        # No grant that was made later was revoked.
        self._since = _NEVER
        self._witness: Witness | None = None
        self._alone: Witness | None = None
        # The grants that the audit store confirmed last.
        self._stored: frozenset[GrantKey] = frozenset()
        # The grants that were made here while this process was not joined.
        self._own: set[GrantKey] = set()

    @property
    def horizon(self) -> float:
        """The time from which on this process knows all revocations."""
        return max([_NEVER, *(each.since for each in self._witnesses)])

    @property
    def last_revocation(self) -> float:
        """The time after which no grant was revoked, as far as this process knows."""
        return max(self._since, self._floor)

    @property
    def _witnesses(self) -> list[Witness]:
        return [each for each in (self._witness, self._alone) if each is not None]

    # -- grants

    def make(self, grant: Grant) -> Grant:
        """Return a new grant of an approver of this replica, with the revocations that it is not subject to."""
        after = [each.revocation_id for each in self._revocations if _covers(each, grant)]
        last, time = self._revoked.get(grant.grant_id, ("", _NEVER))
        if grant.created <= time + MAX_SKEW:
            after.append(last)
        created = max(grant.created, self._latest.get(grant.grant_id, _NEVER) + _STEP)
        made = attrs.evolve(grant, created=created, after=tuple(after[-MAX_AFTER:]))
        self.confirm(made)
        self.trust(made)
        return made

    def times(self, created: float, until: float) -> GrantTimes:
        """Return the times of a new grant whose scope only other processes know.

        It names the last revocations, whatever they cover: it is made after all of them.
        """
        known = [(each.time, each.revocation_id) for each in self._revocations]
        known += [(time, name) for name, time in islice(reversed(self._revoked.values()), MAX_AFTER)]
        after = [name for time, name in sorted(known) if created <= time + MAX_SKEW]
        return GrantTimes(created, until, tuple(after[-MAX_AFTER:]))

    def accepts(self, grant: Grant) -> bool:
        """Return whether a grant is newer than the revocations that cover it, and than other grants with its id."""
        if not self.shares:
            return True
        return grant.created >= self._latest.get(grant.grant_id, _NEVER) and not self.is_revoked(grant)

    def is_revoked(self, grant: Grant) -> bool:
        """Return whether a revocation covers a grant, or can cover it."""
        if not self.shares:
            return False
        if grant.created < self._floor:
            return True
        last, time = self._revoked.get(grant.grant_id, ("", _NEVER))
        if grant.created <= time + MAX_SKEW and last not in grant.after:
            return True
        return any(_covers(each, grant) and each.revocation_id not in grant.after for each in self._revocations)

    def added(self, grant: Grant, before: Grant | None) -> None:
        """Register that a grant is in use, and replaces an earlier one with its id, if there is one."""
        if before is not None and before.created < grant.created:
            self._since = max(self._since, before.created)
        self._latest.pop(grant.grant_id, None)
        self._latest[grant.grant_id] = grant.created
        if len(self._latest) > MAX_IDS:
            self._raise_floor(self._latest.popitem(last=False)[1])

    def is_in_force(self, grant: Grant) -> bool:
        """Return whether a grant may allow requests now."""
        return self.is_known(grant) if self.is_joined else key_of(grant) in self._own

    def is_known(self, grant: Grant) -> bool:
        """Return whether a grant was in force when this process last knew all revocations."""
        return all(each.confirms(key_of(grant)) for each in self._witnesses)

    # -- revocations

    def revoke(self, grant_id: str, revocation_id: str, time: float) -> bool:
        """Register that a grant is revoked.

        @return: whether this is later than other revocations of the grant.
        """
        last, before = self._revoked.get(grant_id, ("", _NEVER))
        if time < before or revocation_id == last:
            return False
        self._since = max(self._since, time + MAX_SKEW)
        self._revoked.pop(grant_id, None)
        self._revoked[grant_id] = revocation_id, time
        if len(self._revoked) > MAX_IDS:
            self._raise_floor(self._revoked.popitem(last=False)[1][1] + MAX_SKEW)
        return True

    def revoke_matching(self, revocation: Revocation) -> None:
        """Register a revocation of all grants that it covers."""
        self._since = max(self._since, revocation.time + MAX_SKEW)
        self._revocations.append(revocation)
        if len(self._revocations) > MAX_REVOCATIONS:
            self._raise_floor(self._revocations.popleft().time + MAX_SKEW)

    def _raise_floor(self, floor: float) -> None:
        self._floor = max(self._floor, floor)

    # -- other processes

    @property
    def own(self) -> frozenset[GrantKey]:
        """The grants that were made on this replica while this process was not joined."""
        return frozenset(self._own)

    def trust(self, grant: Grant) -> None:
        """Register a new grant that another process of this replica has made."""
        if not self.is_joined:
            self._own.add(key_of(grant))

    def lose(self) -> None:
        """Use no grant from now on, except the grants of approvers of this replica."""
        self.is_joined = False
        self._own.clear()

    def confirm(self, grant: Grant) -> None:
        """Register a grant that was certainly made after this process connected."""
        key = key_of(grant)
        self._witness = None if self._witness is None else self._witness.add(key)
        self._alone = None if self._alone is None else self._alone.add(key)

    def confirm_stored(self, grants: Iterable[Grant]) -> None:
        """Register earlier grants that the audit store confirms, and no other process has revoked."""
        self._stored = keys = frozenset(map(key_of, grants))
        self._witness = None if self._witness is None else self._witness.add(*keys)
        self._alone = None if self._alone is None else self._alone.add(*keys)

    def continue_alone(self, since: float) -> None:
        """Use only grants that are made from now on, until a process that is joined responds.

        @param since: a time that is later than each earlier grant.
        """
        self._alone = Witness(since, frozenset())

    @property
    def alone_since(self) -> float:
        """The time from which on this process knows all revocations, while no other one tells it about earlier ones."""
        return _NEVER if self._alone is None else self._alone.since

    def follow(self, witness: Witness) -> None:
        """Use what another process knows from before, instead of only what this process knows."""
        if self._alone is not None:
            # It can know revocations that are not stored.
            witness = witness.add(*(self._alone.grants - self._stored))
            self._alone = None
        self.hear(witness)

    def hear(self, witness: Witness) -> None:
        """Use only what another process confirms, too."""
        self._witness = witness if self._witness is None else self._witness.and_also(witness)

    def join(self) -> None:
        """Use grants again."""
        self.is_joined = True
        self._own.clear()


def _covers(revocation: Revocation, grant: Grant) -> bool:
    """Return whether a revocation can be later than a grant that it covers."""
    return grant.created <= revocation.time + MAX_SKEW and revocation.matches_grant(grant.subject)
