"""The deadlines of the streams of an HTTP/2 client connection."""

from __future__ import annotations

from egress.proxy.interfaces import IHttp2ClientStream


def expire(streams: dict[int, IHttp2ClientStream], now: float) -> float | None:
    """Notify the streams whose deadline has passed.

    @param streams: the streams of a connection, which can change meanwhile.
    @param now: the time.
    @return: the next deadline; C{None}: no stream has one.
    """
    for stream in list(streams.values()):
        if stream.deadline is not None and stream.deadline <= now:
            stream.deadline = None
            stream.expired()
    return min((stream.deadline for stream in streams.values() if stream.deadline is not None), default=None)
