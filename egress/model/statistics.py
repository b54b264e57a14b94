"""Statistics of an authorizer, of its cache, and of a policy that is reloaded."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Questions:
    """What becomes of the questions to an authorizer, as of now.

    @ivar under_way: how many are put to it.
    @ivar waiting: how many wait for their turn.
    @ivar outages: how many had no decision, by kind.
    @ivar refused: how many were not put, by reason.
    @ivar states: the states of the circuit breaker; the one that it is in is true.
    @ivar opened: how often it opened.
    """

    under_way: int
    waiting: int
    outages: Mapping[str, int]
    refused: Mapping[str, int]
    states: Mapping[str, bool]
    opened: int


@attrs.frozen
class CacheStats:
    """What becomes of questions for whose answers decisions are kept, as of now.

    @ivar hits: how many were answered by a decision that was kept.
    @ivar misses: how many were put to the authorizer.
    @ivar stale: how many were answered by one that was kept beyond its time, since there was no answer.
    @ivar shared: how many were answered together with an identical one that was under way.
    @ivar entries: how many decisions are kept.
    """

    hits: int
    misses: int
    stale: int
    shared: int
    entries: int


@attrs.frozen
class PolicyReloadStats:
    """A policy and its files, as of now.

    @ivar rules: how many rules are in use.
    @ivar reads: how often they were read again, and used since.
    @ivar failures: how often what was in the files could not be used.
    @ivar current: whether what is in use is what is in the files.
    """

    rules: int
    reads: int = 0
    failures: int = 0
    current: bool = True
