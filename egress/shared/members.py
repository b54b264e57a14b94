"""The processes of all replicas that one process knows: each of them has sent an event recently."""

from __future__ import annotations

from typing import Final

import attrs

EXPIRES: Final = 16.0
"""Seconds after its last event until a process is not a member any more."""

MAX_MEMBERS: Final = 2000
"""The maximum number of members; others are ignored."""


@attrs.frozen
class Member:
    """A process of a replica.

    @ivar member_id: identifies the process, at random.
    @ivar node: the name of its machine.
    @ivar seen: the time of its last event, in seconds since the epoch.
    @ivar is_waiting: whether requests wait for an approver there.
    @ivar connection: identifies its connection to the engine, at random, if it is new; otherwise empty.
    """

    member_id: str
    node: str
    seen: float
    is_waiting: bool
    connection: str = ""


UNKNOWN: Final = Member("", "other replicas", 0.0, False)
"""A process that cannot confirm anything: it is unknown which processes there are."""


class Members:
    """The other processes.  An earlier event that someone repeats changes nothing."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def see(self, member: Member, now: float) -> None:
        """Remember a member that has sent an event."""
        known = self._members.get(member.member_id)
        if known is None and len(self._members) >= MAX_MEMBERS:
            self.current(now)
            if len(self._members) >= MAX_MEMBERS:
                return
        if known is None or member.seen >= known.seen:
            self._members[member.member_id] = member

    def leave(self, member_id: str) -> None:
        """Forget a member that has ended."""
        self._members.pop(member_id, None)

    def current(self, now: float) -> list[Member]:
        """Return the members, ordered by their nodes."""
        self._members = {key: each for key, each in self._members.items() if now < each.seen + EXPIRES}
        return sorted(self._members.values(), key=lambda each: (each.node, each.member_id))


def node_names(members: list[Member]) -> list[str]:
    """Return the names of the nodes of members, each of them once."""
    return sorted({each.node for each in members})
