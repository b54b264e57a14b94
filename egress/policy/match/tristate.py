"""Whether a condition holds, where that cannot always be told."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Holds(enum.Enum):
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

    def opposite(self) -> Holds:
        """What is to be said of the contrary."""
        return _OPPOSITE[self]


_OPPOSITE = {**{each: each for each in Holds}, Holds.NO: Holds.YES, Holds.YES: Holds.NO}


def certainty(answers: Iterable[bool]) -> Holds:
    """What several readings of one thing say together; no reading at all is a no."""
    found = set(answers)
    if found == {True}:
        return Holds.YES
    return Holds.MAYBE if True in found else Holds.NO


def all_of(answers: Iterable[Holds]) -> Holds:
    """What holds where each of several must."""
    found = Holds.YES
    for answer in answers:
        if answer is Holds.NO:
            return answer
        if answer is Holds.MAYBE:
            found = answer
    return found
