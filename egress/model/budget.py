"""Budgets: how many requests or bytes a rule permits in some time."""

from __future__ import annotations

import enum
from typing import Final

import attrs


class Unit(enum.Enum):
    """What a budget counts.

    @cvar REQUESTS: allowed requests and tunnels.
    @cvar BYTES: bytes of content, in both directions together, as L{egress.model.decision.Obligations.max_bytes} does.
    """

    REQUESTS = "requests"
    BYTES = "bytes"

    __hash__ = object.__hash__


class By(enum.Enum):
    """Which requests of a rule share a budget: all of them, or the requests of one client, or to one host."""

    RULE = "rule"
    CLIENT = "client"
    HOST = "host"

    __hash__ = object.__hash__


class WithoutShared(enum.Enum):
    """What happens while the shared state cannot be used: each process uses its share of a budget, or denies."""

    SHARE = "share"
    DENY = "deny"

    __hash__ = object.__hash__


_PERIODS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def _period(seconds: float) -> str:
    for length, unit in _PERIODS:
        if seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


@attrs.frozen(kw_only=True, cache_hash=True)
class Budget:
    """A budget of a rule, which is a token bucket: it is full at first, and is refilled evenly.

    @ivar rule_id: the rule.
    @ivar table: the table of the rule that contains it: C{"rate"} or C{"budget"}.
    @ivar unit: what it counts.
    @ivar amount: the number of requests or bytes in the time.
    @ivar per: the time, in seconds.
    @ivar capacity: the number of requests or bytes that a full budget permits immediately.
    @ivar by: which requests of the rule share it.
    @ivar without_shared: what happens while the shared state cannot be used.
    """

    rule_id: str
    table: str
    unit: Unit
    amount: int
    per: float
    capacity: int
    by: By = By.RULE
    without_shared: WithoutShared = WithoutShared.SHARE

    @property
    def name(self) -> str:
        """The name of the budget for programs, as in C{budget.bytes}."""
        return f"{self.table}.{self.unit.value}"

    def __str__(self) -> str:
        """The budget in words."""
        most = f"{self.amount:,} {self.unit.value} per {_period(self.per)}"
        if self.by is not By.RULE:
            most = f"{most} and {self.by.value}"
        return most if self.capacity == self.amount else f"{most} in bursts of {self.capacity:,}"
