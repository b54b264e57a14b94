"""The schedule of faults and revocations, which the seed determines.  Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fleet.observations import AUTHORIZER, HAPROXY, POSTGRESQL, REDIS

# The actions.
KILL = "kill"
RELOAD = "reload"
REVOKE = "revoke"

# The kinds of a revocation: what it concerns is a client with a tunnel, the host of all tunnels, or everything.
CLIENT = "client"
HOST = "host"
ALL = "all"

_KINDS = {CLIENT: 4, HOST: 2, ALL: 1}
_PAUSES = (1.0, 6.0)
_OUTAGES = (0.5, 4.0)
# How often each target is chosen.  A replica is one of several.
_TARGETS = {REDIS: 2, POSTGRESQL: 2, AUTHORIZER: 2, HAPROXY: 1, REVOKE: 4}
_REPLICA = 4


@dataclass(frozen=True)
class Step:
    """One action.

    @ivar at: seconds after the beginning of the load.
    @ivar target: what is killed or reloaded; for a revocation, the replica that receives it.
    @ivar lasts: the seconds until the target is started again.
    @ivar kind: the kind of a revocation.
    @ivar holder: the number of the client with a tunnel that a revocation of the kind C{client} names.
    """

    at: float
    action: str
    target: str
    lasts: float = 0.0
    kind: str = ""
    holder: int = 0

    def __str__(self) -> str:
        """Describe it in one line."""
        if self.action == REVOKE:
            what = f"revoke {self.kind}{f' {self.holder}' if self.kind == CLIENT else ''} on {self.target}"
        elif self.action == KILL:
            what = f"kill {self.target} for {self.lasts:.1f} s"
        else:
            what = f"{self.action} {self.target}"
        return f"{self.at:6.1f} s  {what}"


def schedule(seed: int, seconds: float, replicas: Sequence[str], holders: int, *, redis: bool = True) -> list[Step]:
    """Return steps one after the other, with pauses between them.

    @param holders: the number of clients with a tunnel.
    @param redis: whether Redis is killed, too; otherwise, it is away for other reasons.
    """
    chosen = random.Random(seed)
    targets = dict(_TARGETS)
    if not redis:
        del targets[REDIS]
    weights = {**targets, **dict.fromkeys(replicas, _REPLICA / len(replicas))}
    steps: list[Step] = []
    at = chosen.uniform(*_PAUSES)
    while True:
        target = chosen.choices(list(weights), list(weights.values()))[0]
        lasts = 0.0
        if target == REVOKE:
            kind = chosen.choices(list(_KINDS), list(_KINDS.values()))[0]
            step = Step(at, REVOKE, chosen.choice(replicas), kind=kind, holder=chosen.randrange(holders))
        elif target == HAPROXY:
            step = Step(at, RELOAD, HAPROXY)
        else:
            lasts = chosen.uniform(*_OUTAGES)
            step = Step(at, KILL, target, lasts)
        if at + lasts > seconds:
            return steps
        steps.append(step)
        at += lasts + chosen.uniform(*_PAUSES)
