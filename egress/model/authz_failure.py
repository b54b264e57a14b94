"""The kinds of authorization failure."""

from __future__ import annotations

import enum


class AuthzFailure(enum.Enum):
    """The reason why there is no decision.  Metrics use the values as labels.

    @cvar CONNECTION: the authorizer could not be reached, or the connection was lost.
    @cvar TIMEOUT: the authorizer did not respond before the timeout.
    @cvar RESPONSE: the authorizer's response is not a valid decision.
    @cvar EXCEPTION: the authorizer raised an unexpected exception.
    @cvar REQUEST: the request cannot be expressed as an authorization request, or not in a size that the authorizer
        accepts.
    @cvar CANCELLED: the exchange that waited for the decision has ended.
    @cvar OVERLOAD: the queue is full, or the authorization request waited in it for too long.
    @cvar OPEN: the circuit breaker is open, so the authorization request was not sent.
    """

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    RESPONSE = "response"
    EXCEPTION = "exception"
    REQUEST = "request"
    CANCELLED = "cancelled"
    OVERLOAD = "overload"
    OPEN = "open"

    # Enum's own __hash__ is written in Python, and failures are counted by kind.
    __hash__ = object.__hash__
