"""Delays of failed sign-ins, so that tokens cannot be guessed fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

FAILURE_SECONDS: Final = 1.0
"""The delay of the response to a failed sign-in."""

_PER_CLIENT: Final = 4
_TOTAL: Final = 16


class Throttle:
    """Limits the failed sign-ins in progress: for one client, and in total.

    While a client has too many of them, its tokens are not compared.  So it tries at most four tokens in a second.

    @param later: calls a function after a number of seconds.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self._failing: Counter[str] = Counter()

    def is_limited(self, client: str) -> bool:
        """Return whether a client must wait."""
        return self._failing[client] >= _PER_CLIENT or self._failing.total() >= _TOTAL

    def failed(self, client: str, then: Callable[[], None]) -> None:
        """Count a failed sign-in of a client until its response, which C{then} sends later."""
        self._failing[client] += 1

        def respond() -> None:
            self._failing[client] -= 1
            if not self._failing[client]:
                del self._failing[client]
            then()

        self._later(FAILURE_SECONDS, respond)
