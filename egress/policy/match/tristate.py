"""Whether a condition holds, where that cannot always be told."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Match(enum.Enum):
    """What a condition says about a request.

    A denial takes C{MAYBE} for yes, a permission for no: both are the safe side.

    @cvar UNREAD: the content was not read yet, and would tell.
    @cvar UNRESOLVED: the name was not resolved yet, and its addresses would tell.
    """

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"
    UNREAD = "unread"
    UNRESOLVED = "unresolved"

    def opposite(self) -> Match:
        """What is to be said of the contrary."""
        return _OPPOSITE[self]


_OPPOSITE = {**{each: each for each in Match}, Match.NO: Match.YES, Match.YES: Match.NO}


def certainty(answers: Iterable[bool]) -> Match:
    """What several readings of one thing say together; no reading at all is a no."""
    found = set(answers)
    if found == {True}:
        return Match.YES
    return Match.MAYBE if True in found else Match.NO


def all_of(answers: Iterable[Match]) -> Match:
    """What holds where each of several must."""
    found = Match.YES
    for answer in answers:
        if answer is Match.NO:
            return answer
        if answer is Match.MAYBE:
            found = answer
    return found
