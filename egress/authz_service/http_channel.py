"""HTTP connections of callers, bounded in number, time and size.

L{twisted.web} reads HTTP; what it leaves without a bound has one here: a question comes in within one time from its
first byte to its last, however it drips in, stays in memory, and is no longer than it may be.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from egress import __version__
from egress.transport.bounded_http import BoundedChannel, BoundedSite, ChannelBounds

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

# What is read, and dropped, of a question that is too long, so that its caller gets as far as reading the answer.
_LINGER: Final = 4 * 1024 * 1024

_END: Final = b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout" + _END
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large" + _END


@attrs.frozen
class ChannelLimits:
    """The bounds of connections; sizes in bytes, times in seconds.

    @ivar question: the content of a question.
    @ivar held: the contents of all questions that are there at the same time.
    @ivar connections: how many are open.
    @ivar idle_timeout: between two questions.
    @ivar question_timeout: from the first byte of a question to its last.
    """

    question: int
    held: int
    connections: int
    idle_timeout: float
    question_timeout: float


class QuestionRequest(Request):
    """A request whose content is kept in memory, up to the bound, and not for strangers.

    @ivar excess: whether there was more.
    @ivar crowded: whether there was no room for it beside that of others.
    """

    channel: QuestionChannel
    # Until the head is complete.
    excess = crowded = _wanted = False
    _came = _held = 0

    def gotLength(self, length: int | None) -> None:
        """Begin the content (L{twisted.web.iweb.IRequest})."""
        self.content: BytesIO = BytesIO()
        self._wanted = self.channel.site.admits(self)
        # Where nobody proves anything, nobody has an older right than another.
        self.channel.known = self._wanted and self.channel.site.asks

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the content (L{twisted.web.iweb.IRequest})."""
        site = self.channel.site
        limit = site.limits.question
        self._came += len(data)
        if self._came > limit:
            self.excess = True
        elif site.held + len(data) > site.limits.held:
            self.crowded = True
        if self._wanted and not (self.excess or self.crowded):
            self.content.write(data)
            self._held += len(data)
            site.held += len(data)
            return
        self._let_go()
        if self._came > limit + _LINGER:
            self.channel.abort()

    def _let_go(self) -> None:
        self.content = BytesIO()
        self.channel.site.held -= self._held
        self._held = 0

    def connectionLost(self, reason: Failure) -> None:
        """End before the answer (L{twisted.web.http.Request.connectionLost})."""
        self._let_go()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Answer (L{twisted.web.http.Request.process})."""
        self.channel.site.serve(self)

    def answer(self, status: int, content: bytes, content_type: str) -> None:
        """Write the answer, unless nobody is there any more to read it."""
        if self.channel is None:
            return
        self._let_go()
        self.setResponseCode(status)
        fields = {
            "Server": f"egressauthz/{__version__}",
            "Content-Type": content_type,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if self.excess or self.channel.site.draining:
            self.channel.persistent = False
            fields["Connection"] = "close"
        for name, value in fields.items():
            self.responseHeaders.setRawHeaders(name, [value])
        self.write(content)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


@implementer(ILogObserver)
def _nobody(event: LogEvent) -> None:
    pass


class QuestionChannel(BoundedChannel):
    """A connection of a caller."""

    # What it says is about single connections: idle ones, and those of strangers.
    _log = Logger(observer=_nobody)
    requestFactory = QuestionRequest
    site: QuestionSite

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a head with a line that is too long (L{twisted.protocols.basic.LineReceiver})."""
        cast("Any", self.transport).write(_TOO_LONG)
        self.loseConnection()

    def timeoutConnection(self) -> None:
        """Close, and say why where somebody is being read from (L{twisted.protocols.policies})."""
        if self._inside:
            self.site.refused("slow")
            cast("Any", self.transport).write(_TOO_SLOW)
        super().timeoutConnection()  # type: ignore[no-untyped-call]


class QuestionSite(BoundedSite):
    """What listens for callers.

    @ivar held: bytes of questions that are there now.
    @param serve: answers a request, at once or later.
    @param admits: whether the content of a request is wanted, from its head.
    @param refused: is told, by a word, of what never became a question.
    @param asks: whether callers prove who they are.
    """

    protocol = QuestionChannel

    def __init__(
        self,
        clock: IReactorTime,
        limits: ChannelLimits,
        serve: Callable[[QuestionRequest], None],
        admits: Callable[[QuestionRequest], bool],
        refused: Callable[[str], object],
        asks: bool = False,
    ) -> None:
        bounds = ChannelBounds(limits.connections, limits.idle_timeout, limits.question_timeout)
        super().__init__(clock, bounds, Resource(), QuestionRequest)  # type: ignore[no-untyped-call]
        self.limits = limits
        self.serve = serve
        self.admits = admits
        self.held = 0
        self.refused = refused
        self.asks = asks
        self.draining = False
        self._drained: list[Deferred[None]] = []

    def no_room(self) -> None:
        """See L{BoundedSite.no_room}."""
        self.refused("connections")

    def gone(self, channel: BoundedChannel) -> None:
        """See L{BoundedSite.gone}."""
        super().gone(channel)
        self._settle()

    def drain(self) -> Deferred[None]:
        """Close each connection once it has its answers.

        @return: fires when none is left.
        """
        self.draining = True
        for channel in [channel for channel in self.channels if channel.idle]:
            channel.loseConnection()
        drained: Deferred[None] = Deferred(self._drained.remove)
        self._drained.append(drained)
        self._settle()
        return drained

    def abort(self) -> None:
        """Cut what is left."""
        for channel in list(self.channels):
            channel.abort()

    def _settle(self) -> None:
        if self.channels:
            return
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(None)
