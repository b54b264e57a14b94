"""What an operator sees of decisions that are reused."""

from __future__ import annotations

import attrs


@attrs.frozen
class Reuse:
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
