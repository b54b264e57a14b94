"""The three-valued result of a condition."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Match(enum.Enum):
    """The result of a condition for a request.

    A denial treats C{MAYBE} as yes, a permission as no: both are conservative.

    @cvar NO: the condition does not match.
    @cvar MAYBE: servers interpret the request differently, and the condition matches only some of the interpretations;
        or a fact is unknown.
    @cvar YES: the condition matches.
    @cvar UNREAD: the content is required, and was not read yet.
    @cvar UNRESOLVED: the addresses are required, and the name was not resolved yet.
    """

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"
    UNREAD = "unread"
    UNRESOLVED = "unresolved"

    def opposite(self) -> Match:
        """Return the negated result."""
        return _OPPOSITE[self]


_OPPOSITE = {**{each: each for each in Match}, Match.NO: Match.YES, Match.YES: Match.NO}


def certainty(results: Iterable[bool]) -> Match:
    """Combine the results of several interpretations; without any interpretation, the result is C{NO}."""
    found = set(results)
    if found == {True}:
        return Match.YES
    return Match.MAYBE if True in found else Match.NO


def all_of(results: Iterable[Match]) -> Match:
    """Combine the results of several conditions that must all match."""
    found = Match.YES
    for result in results:
        if result is Match.NO:
            return result
        if result is Match.MAYBE:
            found = result
    return found
