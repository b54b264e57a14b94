"""The work budget of one decision.  A decision blocks the reactor, so no request may take long.

Work is counted in steps of about a nanosecond on a slow machine.  The cost of parsing and comparing a part of a request
is estimated in advance from its length and from the number of its interpretations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_WORK: Final = 3_500_000
"""The maximum number of steps of one decision: about 3.5 ms."""

PER_CALL: Final = 300
"""Steps to match one pattern against one value."""

PER_CHARACTER: Final = 4
"""Steps to match a value pattern against one more character."""


def steps_to_try(values: Iterable[str], patterns: int) -> int:
    """Return the maximum number of steps of work to match a number of patterns against each of several values."""
    return patterns * sum(PER_CALL + PER_CHARACTER * len(value) for value in values)


class TooMuchWork(Exception):
    """The request exceeds the work budget.

    @ivar cause: the part that causes the work, for the client and the audit log: without any data of the request.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class WorkBudget:
    """The work budget of one decision.

    @ivar left: the remaining steps.
    """

    __slots__ = ("left",)

    def __init__(self, most: int = MAX_WORK) -> None:
        self.left = most

    def spend(self, steps: int, cause: str) -> None:
        """Spend steps before the work is done.

        @param steps: the number of steps.
        @param cause: the part that causes the work, as in C{"its path has 16,000 characters"}.
        @raise TooMuchWork: if more steps are needed than remain.
        """
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork(cause)
