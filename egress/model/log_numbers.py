"""Times and durations, as logs and stores have them."""

from __future__ import annotations

from datetime import datetime, timezone


def written_time(seconds: float) -> str:
    """Format a time for logs: in UTC (RFC 3339), with milliseconds.

    @param seconds: seconds since the epoch.
    """
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(seconds: float) -> float:
    """Return milliseconds, rounded to microseconds; C{round} takes five times as long."""
    return int(seconds * 1_000_000 + 0.5) / 1000
