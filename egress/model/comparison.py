"""Two deciders side by side: what a second one says of a question that the first has decided on."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from egress.model.decision import NEEDS, Decision, DecisionRequest, Verdict


class ShadowResult(enum.Enum):
    """How far the second agrees with the first.  Metrics have these names as labels.

    @cvar SAME: the same verdict, by whatever rule.
    @cvar STRICTER: the second denies what the first allows, or asks a person; or denies where the first asks.
    @cvar LAXER: the other way round.
    @cvar UNDECIDED: the second wants content that was not collected, or addresses that were not looked up.
    @cvar UNAVAILABLE: the second gave no decision.
    @cvar SKIPPED: the second was not asked, since it is too slow for the traffic.
    """

    SAME = "same"
    STRICTER = "stricter"
    LAXER = "laxer"
    UNDECIDED = "undecided"
    UNAVAILABLE = "unavailable"
    SKIPPED = "skipped"

    # Enum's own is written in Python, and these are counted for each request.
    __hash__ = object.__hash__


_STRICTNESS: Final = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


def compare(first: Decision, second: Decision) -> ShadowResult:
    """Say how the second of two decisions relates to the first, which decides on its request."""
    if second.verdict in NEEDS or first.verdict in NEEDS:
        return ShadowResult.UNDECIDED
    one, other = _STRICTNESS[first.verdict], _STRICTNESS[second.verdict]
    if one == other:
        return ShadowResult.SAME
    return ShadowResult.STRICTER if other > one else ShadowResult.LAXER


@attrs.frozen
class ShadowComparison:
    """One question to both.

    @ivar first: what counted.
    @ivar second: what did not; C{None}: there was no decision.
    """

    request: DecisionRequest
    first: Decision
    second: Decision | None
    agreement: ShadowResult

    @property
    def differs(self) -> bool:
        """Whether both decided, and not alike."""
        return self.agreement in (ShadowResult.STRICTER, ShadowResult.LAXER)
