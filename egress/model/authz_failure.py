"""Why there was no decision, and what an operator sees of the questions that are put to an authorizer."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs


class Outage(enum.Enum):
    """What kind of lack of a decision it was.  Metrics have these names as labels.

    @cvar CONNECTION: it could not be reached, or broke off.
    @cvar TIMEOUT: it did not answer in time.
    @cvar ANSWER: it answered, with what is no decision.
    @cvar FAILURE: it failed in code of its own.
    @cvar QUESTION: the request is one that cannot be put to it.
    @cvar GIVEN_UP: nobody waits for the answer any more.
    @cvar OVERLOAD: so many questions wait that this one was not put, or not in time.
    @cvar OPEN: it has been failing, so this one was not put.
    """

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    ANSWER = "answer"
    FAILURE = "failure"
    QUESTION = "question"
    GIVEN_UP = "given-up"
    OVERLOAD = "overload"
    OPEN = "open"

    # Enum's own is written in Python, and outages are counted by kind.
    __hash__ = object.__hash__


@attrs.frozen
class Questions:
    """What becomes of the questions to an authorizer, as of now.

    @ivar under_way: how many are put to it.
    @ivar waiting: how many wait for their turn.
    @ivar outages: how many had no decision, by kind.
    @ivar refused: how many were not put, by reason.
    @ivar states: the states of the circuit breaker; the one that it is in is true.
    @ivar opened: how often it opened.
    """

    under_way: int
    waiting: int
    outages: Mapping[str, int]
    refused: Mapping[str, int]
    states: Mapping[str, bool]
    opened: int
