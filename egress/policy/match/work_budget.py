"""How much work one decision may take: nothing else is done meanwhile, so no request may take long.

Work is counted in steps of about a nanosecond on a slow machine.  What it takes to read and compare a part of a request
is estimated from its length and from how many ways there are to read it, before it is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_WORK: Final = 3_500_000
"""Steps of one decision: about 3.5 ms."""

PER_CALL: Final = 300
"""Steps to try one pattern on one value."""

PER_CHARACTER: Final = 4
"""Steps to try a pattern for values on one more character."""


def steps_to_try(values: Iterable[str], patterns: int) -> int:
    """How many steps of work it takes at most to try so many patterns on each of several values."""
    return patterns * sum(PER_CALL + PER_CHARACTER * len(value) for value in values)


class TooMuchWork(Exception):
    """A request that takes more work than it may.

    @ivar cause: what takes the work, for the client and the audit log: without any text of the request.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class WorkBudget:
    """The work of one decision.

    @ivar left: the steps that are left.
    """

    __slots__ = ("left",)

    def __init__(self, most: int = MAX_WORK) -> None:
        self.left = most

    def spend(self, steps: int, cause: str) -> None:
        """Take note of work that is about to be done.

        @param cause: what takes the work, as in C{"its path has 16,000 characters"}.
        @raise TooMuchWork: when it is more than is left.
        """
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork(cause)
