"""The circuit breaker of an authorizer.

It has no clock and calls nothing: the caller reports each event and its time.  The states and the transitions are in
L{TRANSITIONS}.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final

# Delays before a probe, in seconds: the first one, doubled after each failed probe, up to the last one.
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 10.0


class State(enum.Enum):
    """The state of a circuit breaker.

    @cvar CLOSED: every request is admitted.
    @cvar OPEN: no request is admitted.
    @cvar HALF_OPEN: the authorizer can be reached again; one request is admitted as a probe.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"

    # Enum's own method is written in Python.
    __hash__ = object.__hash__


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    # Too many consecutive failures.
    State.CLOSED: frozenset({State.OPEN}),
    # The authorizer can be reached again; or a request that was sent earlier got a response.
    State.OPEN: frozenset({State.HALF_OPEN, State.CLOSED}),
    # The probe got a response, or failed.
    State.HALF_OPEN: frozenset({State.CLOSED, State.OPEN}),
}


class Breaker:
    """Decides whether an authorizer is called.

    While the breaker is closed, it admits every request.  It opens after a number of consecutive failures, whichever
    clients sent the requests.  While it is open, it admits no request.  Once the authorizer can be reached again, it is
    half-open: it admits one request as a probe, and the result of the probe closes or opens it.

    One client whose requests harm the authorizer must not keep the breaker open for all clients.  So the client of the
    request that opened it waits with the probe until other clients had their turn.  If all consecutive failures came
    from one client, and a request of another client then gets a response, the first client caused the failures.  For a
    while, failures of only that client do not open the breaker.

    @param max_failures: the number of consecutive failures that opens it; C{None}: it never opens.
    @param interval: seconds after which a failure is not consecutive with the previous one, and after which the
        exemption of one client ends.
    @param jitter: returns a number from 0 to 1, so that many proxies do not probe at the same time.
    @ivar failures: the number of consecutive failures; it is zero only while the breaker is closed.
    @ivar since: the time of the first of these failures, in seconds.
    @ivar retry_at: while the breaker is open: the time, in seconds, at which to check whether the authorizer can be
        reached.
    @ivar opened: the number of times that the breaker opened from the closed state.
    @ivar term: a number that changes with each transition and each probe.  A failure of a request from an earlier term
        is ignored.
    """

    def __init__(self, max_failures: int | None, interval: float, jitter: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self.failures = 0
        self.since = 0.0
        self.retry_at = 0.0
        self.opened = 0
        self.term = 0
        self._max_failures: float = math.inf if max_failures is None else max_failures
        self._interval = interval
        self._jitter = jitter
        self._latest = 0.0
        self._delay = 0.0
        self._probing = False
        # The client of all consecutive failures, if it is only one; and the exempt client, whose failures do not open
        # the breaker.
        self._only_client: str | None = None
        self._exempt: str | None = None
        self._exempt_since = -math.inf
        self._opening_client: str | None = None
        self._others_tried = False
        self._others_first_until = 0.0

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"invalid transition from {self.state.name} to {state.name}")
        self.state = state
        self.term += 1
        self._probing = False

    def admit(self, now: float, client: str) -> bool:
        """Return whether to forward a request while the breaker is not closed.

        A request that is forwarded is the probe, and starts a new term.

        @param now: the current time, in seconds.
        @param client: the client's key for per-client limits (L{egress.model.limit_key}).
        """
        must_yield = client == self._opening_client and self._others_tried and now < self._others_first_until
        if self.state is State.HALF_OPEN and not self._probing and not must_yield:
            self.term += 1
            self._probing = True
            return True
        self._others_tried = self._others_tried or client != self._opening_client
        return False

    def record_response(self, now: float, client: str) -> None:
        """Record that a request got a response.  The breaker closes, whichever term the request was sent in."""
        if self._only_client is not None and client != self._only_client:
            self._exempt, self._exempt_since = self._only_client, now
        self._only_client = None
        self.failures = 0
        if self.state is not State.CLOSED:
            self._enter(State.CLOSED)

    def record_failure(self, now: float, client: str, term: int) -> bool:
        """Record that a request failed.

        @param now: the current time, in seconds.
        @param client: the client's key for per-client limits.
        @param term: the term in which the request was sent.
        @return: whether the breaker opened.
        """
        if term != self.term:
            return False
        if self.state is State.CLOSED:
            if now - self._latest > self._interval:
                self.failures = 0
            if not self.failures:
                self.since = now
                self._only_client = client
            elif client != self._only_client:
                self._only_client = None
            self.failures += 1
            self._latest = now
            is_exempt = self._only_client == self._exempt and now - self._exempt_since <= self._interval
            if self.failures < self._max_failures or is_exempt:
                return False
            self.opened += 1
            self._delay = FIRST_DELAY
        else:
            if client != self._only_client:
                self._only_client = None
            self._increase_delay()
        self._enter(State.OPEN)
        self._opening_client = client
        self._others_tried = False
        self._schedule_retry(now)
        return True

    def abandoned(self, term: int) -> None:
        """Record that a request ended without a result.  If it was the probe, another request can be the probe."""
        if term == self.term:
            self._probing = False

    def reached(self, now: float) -> None:
        """Record that the authorizer can be reached."""
        self._enter(State.HALF_OPEN)
        self._others_first_until = now + self._delay

    def unreached(self, now: float) -> None:
        """Record that the authorizer cannot be reached, which no client caused."""
        self._opening_client = self._only_client = None
        self._increase_delay()
        self._schedule_retry(now)

    def _increase_delay(self) -> None:
        self._delay = min(2 * self._delay, LAST_DELAY)

    def _schedule_retry(self, now: float) -> None:
        self.retry_at = now + self._delay * (1 + self._jitter()) / 2
