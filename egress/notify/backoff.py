"""Retries of deliveries: which responses are final, when to retry, and the pace of messages."""

from __future__ import annotations

import enum
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Final

# The delays between attempts in seconds: the first one, doubled after each attempt, up to the last one.
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 60.0
# A receiver cannot delay an attempt by more than this.
MAX_RETRY_AFTER: Final = 600.0

_RETRIED: Final = frozenset({408, 425, 429})


class Result(enum.Enum):
    """The result of one message.  Metrics use the values as labels.

    @cvar DELIVERED: the receiver accepted it.
    @cvar REJECTED: the receiver responded that it does not accept it.
    @cvar EXPIRED: the receiver did not accept it in time.
    @cvar DROPPED: the queue was full, or the proxy stopped.
    """

    DELIVERED = "delivered"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DROPPED = "dropped"


def final_result(status: int) -> Result | None:
    """Return what a response means for a message; C{None} if it is sent again.

    @param status: the status code.
    """
    if 200 <= status < 300:
        return Result.DELIVERED
    if status >= 500 or status in _RETRIED:
        return None
    # Redirects are not followed: a signed message is for the configured receiver only.
    return Result.REJECTED


def retry_delay(attempts: int, jitter: float, retry_after: float | None) -> float:
    """Return the seconds until the next attempt.

    @param attempts: the number of failed attempts.
    @param jitter: a number from 0 to 1, so that several proxies do not retry at the same time.
    @param retry_after: the seconds that the receiver demanded.
    """
    delay: float = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 16)) * (1 + jitter) / 2
    return max(delay, min(retry_after or 0.0, MAX_RETRY_AFTER))


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Parse the field C{Retry-After} (RFC 9110 section 10.2.3).

    @param value: the value of the field, if there is one.
    @param now: seconds since the epoch.
    @return: seconds from now; C{None} if there is no valid value.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, moment.timestamp() - now)


class Pace:
    """A token bucket: limits how often something happens.

    @param burst: how often it may happen without a delay.
    @param interval: the seconds after which it may happen another time.
    """

    def __init__(self, burst: int, interval: float) -> None:
        self._burst = float(burst)
        self._interval = interval
        self._tokens = self._burst
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take one token.

        @param now: the current time, in seconds.
        @return: 0 if it may happen now; otherwise the seconds after which to try again.
        """
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) / self._interval)
        self._at = now
        # Times are sums of floating-point numbers.
        if self._tokens >= 1.0 - 1e-9:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) * self._interval
