"""The observations of a run, joined by the ids of requests and the addresses of connections, and a verdict.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.fleet.observations import REDIS, Fault, Held, Question, Record, Revocation, Run
from tests.fleet.schedule import ALL, CLIENT, HOST

# What the documentation promises, in seconds.
RECONNECTED_WITHIN = 7.0
RECOVERED_WITHIN = 10.0
IN_MEMORY = 0.5
IN_MEMORY_WITHOUT_SERVER = 6.0

# Seconds after which a process that connects to Redis uses the decisions of others.
JOINED_WITHIN = 2.0

APPROVED_WITHIN = 1.0
ENOUGH_APPROVALS = 10

# The most questions, relative to those of one replica.
QUESTIONS_RATIO = 1.1
# A ratio of fewer questions means nothing.
ENOUGH_QUESTIONS = 20

# The moments at which a program observes the same event differ by less.
SLACK = 0.25
# A client sees the end of its tunnel so soon.
NOTICED_WITHIN = 1.0


@dataclass
class Verdict:
    """The result of a run.

    @ivar failures: one sentence for each violation.
    @ivar counts: what was counted, by topic.
    @ivar figures: what was measured.
    """

    failures: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there is no violation."""
        return not self.failures

    def count(self, topic: str, name: str, number: int = 1) -> None:
        """Count something."""
        names = self.counts.setdefault(topic, {})
        names[name] = names.get(name, 0) + number


class Joined:
    """The observations of a run, joined."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records: dict[str, list[Record]] = defaultdict(list)
        for record in run.records:
            self.records[record.client if record.stage == "tunnel" else record.id].append(record)
        self.replica_of = dict(run.sessions)

    @cached_property
    def allows(self) -> dict[tuple[str, str], list[Question]]:
        """The allows, by method and path, in their order."""
        found: dict[tuple[str, str], list[Question]] = defaultdict(list)
        for one in sorted(self.run.questions, key=lambda one: one.at):
            if one.is_allow:
                found[one.method, one.path].append(one)
        return found

    def faults(self, target: str) -> Iterator[Fault]:
        """Return the faults of a target."""
        return (fault for fault in self.run.faults if fault.target == target)

    def was_killed(self, address: str, began: float, ended: float) -> bool:
        """Return whether the replica of a connection was killed within a time."""
        replica = self.replica_of.get(address)
        return any(fault.began <= ended + SLACK and began <= fault.away + SLACK for fault in self.faults(replica or ""))

    def was_away(self, target: str, began: float, ended: float, recovery: float = 0.0) -> bool:
        """Return whether a target could not be used at some time within a time.

        @param recovery: seconds after which it is used again.
        """
        return any(
            fault.began <= ended + SLACK and began <= fault.repaired + recovery + SLACK for fault in self.faults(target)
        )

    def effective(self, revocation: Revocation, replica: str | None) -> float | None:
        """Return the time at which a revocation must have its effects on a replica.

        @return: C{None} if it need not have any: its own replica was killed before it could send it.
        """
        promised = revocation.at + self.run.revoked_within
        if replica == revocation.replica:
            return promised
        back = [
            fault.repaired
            for fault in self.faults(REDIS)
            if fault.began <= promised and revocation.at <= fault.repaired + RECONNECTED_WITHIN
        ]
        if not back:
            return promised
        due = max(back) + RECONNECTED_WITHIN
        if any(revocation.at <= fault.began <= due for fault in self.faults(revocation.replica)):
            return None
        return max(due, promised)

    def can_share(self, at: float) -> bool:
        """Return whether all replicas could share their decisions at a time, with those that were valid then.

        A decision from a time without Redis, or before all replicas know of a revocation, is valid on one replica only.
        """
        run = self.run
        return (
            not self.was_away(REDIS, at, at, RECONNECTED_WITHIN + run.ttl)
            and not any(self.was_away(replica, at, at, JOINED_WITHIN) for replica in run.replicas)
            and not any(each.at <= at <= each.done + run.revoked_within + run.ttl for each in run.revocations)
        )


def voids(revocation: Revocation) -> bool:
    """Return whether a revocation voids the cached decisions on requests.  They have no client in common with it."""
    return revocation.kind != HOST


def concerns(revocation: Revocation, held: Held, tunnel_host: str) -> bool:
    """Return whether a revocation ends a tunnel."""
    if revocation.kind == CLIENT:
        return held.identity == revocation.value
    return revocation.kind == ALL or revocation.value == tunnel_host
