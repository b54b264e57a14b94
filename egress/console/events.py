"""Server-sent events to one browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from egress.console.page import EventSink, EventStream


@implementer(IPushProducer)
class EventResponse:
    """The response with the events (L{EventSink}).

    While the browser does not receive, it is not writable: the sender drops events or waits.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._paused = False
        self._ended = False

    def begin(self, stream: EventStream) -> Deferred[None]:
        """Send the head, and begin the stream.

        @return: fires when the stream has ended.
        """
        request: Any = self._request
        for name, value in (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")):
            request.responseHeaders.setRawHeaders(name, [value])
        request.setResponseCode(200)
        # A comment: browsers then know that the stream has begun.
        request.write(b": begin\n\n")
        if request.method == b"HEAD":
            request.finish()
            return succeed(None)
        over: Deferred[None] = request.notifyFinish()
        request.registerProducer(self, True)
        ended = stream.begin(cast("EventSink", self))
        return over.addBoth(lambda _: self._over(ended))

    @property
    def is_writable(self) -> bool:
        """Whether the browser has received the earlier events."""
        return not (self._paused or self._ended)

    def send(self, event: str, data: str) -> None:
        """Send one event."""
        if self._ended:
            return
        lines = "".join(f"data: {line}\n" for line in data.split("\n"))
        request: Any = self._request
        request.write(f"event: {event}\n{lines}\n".encode("utf-8", "replace"))

    def end(self) -> None:
        """End the stream."""
        if not self._ended:
            self._ended = True
            request: Any = self._request
            request.unregisterProducer()
            request.finish()

    def _over(self, ended: Callable[[], None]) -> None:
        self._ended = True
        ended()

    # -- the browser's speed

    def pauseProducing(self) -> None:
        """Stop sending (C{twisted.internet.interfaces.IPushProducer})."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Continue to send (C{twisted.internet.interfaces.IPushProducer})."""
        self._paused = False

    def stopProducing(self) -> None:
        """Stop because the connection is lost (C{twisted.internet.interfaces.IProducer})."""
        self._ended = True
