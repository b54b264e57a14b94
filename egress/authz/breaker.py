"""A circuit breaker: whether an authorizer that has given no answers is asked.

It has no clock and asks nobody: it is told what happened and when.  The states, and what may follow each, are in
L{TRANSITIONS}.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final

# A failing authorizer is tried again after about so many seconds, then after twice as many, up to the last.
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 10.0


class State(enum.Enum):
    """Whether questions are put."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"

    # Enum's own is written in Python.
    __hash__ = object.__hash__


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    # So many outages in a row.
    State.CLOSED: frozenset({State.OPEN}),
    # It can be reached again; or a question that was put before has an answer now.
    State.OPEN: frozenset({State.HALF_OPEN, State.CLOSED}),
    # The one question that is put has an answer, or none.
    State.HALF_OPEN: frozenset({State.CLOSED, State.OPEN}),
}


class Breaker:
    """Whether questions are put to an authorizer.

    While it is closed, all are.  It opens after so many outages with no answer in between, whoever asked.  While it is
    open, none are.  Once the authorizer can be reached again it is half open: one question is put as a probe, and what
    becomes of that decides.

    One client, whose questions do the authorizer harm, must not keep it open for all.  So whoever asked the question
    that opened it lets others go first with the probe; and when outages of one client alone end with an answer to
    another, then those of that client alone do not open it for a while.

    @param most: how many outages in a row open it; C{None}: it never opens.
    @param lull: seconds after which an outage is not in a row with the one before, and a client has no bad name any
        more.
    @param jitter: gives a number from 0 to 1, so that many proxies do not try again at the same time.
    @ivar outages: how many there were in a row; zero only while it is closed.
    @ivar since: when the first of them was.
    @ivar retry_at: while it is open: when to find out whether the authorizer can be reached.
    @ivar opened: how often it was closed and opened.
    @ivar term: another number after each step and with each probe: an outage of a question that was put in an earlier
        one says nothing of now.
    """

    def __init__(self, most: int | None, lull: float, jitter: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self.outages = 0
        self.since = 0.0
        self.retry_at = 0.0
        self.opened = 0
        self.term = 0
        self._most: float = math.inf if most is None else most
        self._lull = lull
        self._jitter = jitter
        self._latest = 0.0
        self._delay = 0.0
        self._probing = False
        # The one client whose outages are in the row, if there is but one; and one that got a bad name that way.
        self._alone: str | None = None
        self._ill: str | None = None
        self._ill_since = -math.inf
        self._suspect: str | None = None
        self._others = False
        self._others_first_until = 0.0

    def _go(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"{self.state.name} does not lead to {state.name}")
        self.state = state
        self.term += 1
        self._probing = False

    def admit(self, now: float, client: str) -> bool:
        """Say whether a question is put while the breaker is not closed: as the probe, in a term of its own."""
        yields = client == self._suspect and self._others and now < self._others_first_until
        if self.state is State.HALF_OPEN and not self._probing and not yields:
            self.term += 1
            self._probing = True
            return True
        self._others = self._others or client != self._suspect
        return False

    def answered(self, now: float, client: str) -> None:
        """A question has had an answer, whenever it was put: the authorizer is there."""
        if self._alone is not None and client != self._alone:
            self._ill, self._ill_since = self._alone, now
        self._alone = None
        self.outages = 0
        if self.state is not State.CLOSED:
            self._go(State.CLOSED)

    def outage(self, now: float, client: str, term: int) -> bool:
        """A question has had no answer.

        @param term: the one in which it was put.
        @return: whether the breaker opened.
        """
        if term != self.term:
            return False
        if self.state is State.CLOSED:
            if now - self._latest > self._lull:
                self.outages = 0
            if not self.outages:
                self.since = now
                self._alone = client
            elif client != self._alone:
                self._alone = None
            self.outages += 1
            self._latest = now
            harmful = self._alone == self._ill and now - self._ill_since <= self._lull
            if self.outages < self._most or harmful:
                return False
            self.opened += 1
            self._delay = FIRST_DELAY
        else:
            if client != self._alone:
                self._alone = None
            self._lengthen()
        self._go(State.OPEN)
        self._suspect = client
        self._others = False
        self._wait(now)
        return True

    def abandoned(self, term: int) -> None:
        """A question has ended without telling anything; if it was the probe, another may be."""
        if term == self.term:
            self._probing = False

    def reached(self, now: float) -> None:
        """The authorizer can be reached."""
        self._go(State.HALF_OPEN)
        self._others_first_until = now + self._delay

    def unreached(self, now: float) -> None:
        """It cannot, which is no client's doing."""
        self._suspect = self._alone = None
        self._lengthen()
        self._wait(now)

    def _lengthen(self) -> None:
        self._delay = min(2 * self._delay, LAST_DELAY)

    def _wait(self, now: float) -> None:
        self.retry_at = now + self._delay * (1 + self._jitter()) / 2
