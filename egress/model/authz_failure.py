"""Why there was no decision."""

from __future__ import annotations

import enum


class AuthzFailure(enum.Enum):
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
