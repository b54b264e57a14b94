"""The comparison of two decisions: the decision in force, and the shadow authorizer's decision on the same request."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from egress.model.decision import NEEDS, Decision, DecisionRequest, Verdict


class ShadowResult(enum.Enum):
    """How the second decision compares with the first.  Metrics use the values as labels.

    @cvar SAME: the same verdict, regardless of the rule.
    @cvar STRICTER: the second denies or requires an approval where the first allows, or denies where the first requires
        an approval.
    @cvar LAXER: the reverse of C{STRICTER}.
    @cvar UNDECIDED: the second needs content that was not collected, or addresses that were not resolved.
    @cvar UNAVAILABLE: the second returned no decision.
    @cvar SKIPPED: the second was not queried because it is too slow for the traffic.
    """

    SAME = "same"
    STRICTER = "stricter"
    LAXER = "laxer"
    UNDECIDED = "undecided"
    UNAVAILABLE = "unavailable"
    SKIPPED = "skipped"

    # Enum's own __hash__ is written in Python, and the results are counted for each request.
    __hash__ = object.__hash__


_STRICTNESS: Final = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


def compare(first: Decision, second: Decision) -> ShadowResult:
    """Compare a second decision with the first, which is in force."""
    if second.verdict in NEEDS or first.verdict in NEEDS:
        return ShadowResult.UNDECIDED
    one, other = _STRICTNESS[first.verdict], _STRICTNESS[second.verdict]
    if one == other:
        return ShadowResult.SAME
    return ShadowResult.STRICTER if other > one else ShadowResult.LAXER


@attrs.frozen
class ShadowComparison:
    """The two decisions on one request.

    @ivar request: the authorization request.
    @ivar first: the decision in force.
    @ivar second: the shadow authorizer's decision; C{None} if there is none.
    @ivar result: the result of the comparison.
    """

    request: DecisionRequest
    first: Decision
    second: Decision | None
    result: ShadowResult

    @property
    def differs(self) -> bool:
        """Whether both authorizers decided, and their verdicts differ."""
        return self.result in (ShadowResult.STRICTER, ShadowResult.LAXER)
