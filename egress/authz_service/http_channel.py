"""The HTTP connections of callers, with limits on number, time and size.

C{twisted.web} parses HTTP. This module adds the limits that it lacks.  An authorization request must be complete within
one timeout from its first byte to its last, however slowly it arrives.  It stays in memory, and its size is limited.
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

# The number of bytes to read and drop of a request that is too large, so that its caller reaches the response.
_LINGER: Final = 4 * 1024 * 1024

_END: Final = b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout" + _END
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large" + _END


@attrs.frozen
class ChannelLimits:
    """The limits of connections; sizes in bytes, times in seconds.

    @ivar request: the content of one request.
    @ivar buffered: the content of all requests that are in memory at the same time.
    @ivar connections: the number of open connections.
    @ivar idle_timeout: the time between two requests.
    @ivar request_timeout: the time from the first byte of a request to its last.
    """

    request: int
    buffered: int
    connections: int
    idle_timeout: float
    request_timeout: float


class ValidateRequest(Request):
    """A request whose content is collected in memory, up to the limit, if the caller is admitted.

    @ivar too_large: whether the content is larger than the limit.
    @ivar over_budget: whether the content of all requests together exceeds its limit.
    """

    channel: CallerChannel
    # These are the values until the head is complete.
    too_large = over_budget = _admitted = False
    _received_bytes = _buffered_bytes = 0

    def gotLength(self, length: int | None) -> None:
        """Start the content (C{twisted.web.iweb.IRequest})."""
        self.content: BytesIO = BytesIO()
        self._admitted = self.channel.site.admits(self)
        # Without authentication, no connection has priority over another.
        self.channel.known = self._admitted and self.channel.site.authenticated

    def handleContentChunk(self, data: bytes) -> None:
        """Receive a piece of the content (C{twisted.web.iweb.IRequest})."""
        site = self.channel.site
        limit = site.limits.request
        self._received_bytes += len(data)
        if self._received_bytes > limit:
            self.too_large = True
        elif site.buffered + len(data) > site.limits.buffered:
            self.over_budget = True
        if self._admitted and not (self.too_large or self.over_budget):
            self.content.write(data)
            self._buffered_bytes += len(data)
            site.buffered += len(data)
            return
        self._release()
        if self._received_bytes > limit + _LINGER:
            self.channel.abort()

    def _release(self) -> None:
        self.content = BytesIO()
        self.channel.site.buffered -= self._buffered_bytes
        self._buffered_bytes = 0

    def connectionLost(self, reason: Failure) -> None:
        """End before the response (C{twisted.web.http.Request.connectionLost})."""
        self._release()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Respond (C{twisted.web.http.Request.process})."""
        self.channel.site.serve(self)

    def answer(self, status: int, content: bytes, content_type: str) -> None:
        """Write the response, unless the connection is closed."""
        if self.channel is None:
            return
        self._release()
        self.setResponseCode(status)
        fields = {
            "Server": f"egressauthz/{__version__}",
            "Content-Type": content_type,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if self.too_large or self.channel.site.draining:
            self.channel.persistent = False
            fields["Connection"] = "close"
        for name, value in fields.items():
            self.responseHeaders.setRawHeaders(name, [value])
        self.write(content)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


@implementer(ILogObserver)
def _discard(event: LogEvent) -> None:
    pass


class CallerChannel(BoundedChannel):
    """The connection of a caller."""

    # Its messages concern single connections: idle connections, and connections of unauthenticated clients.
    _log = Logger(observer=_discard)
    requestFactory = ValidateRequest
    site: CallerSite

    def lineLengthExceeded(self, line: bytes) -> None:
        """Reject a head with a line that is too long (C{twisted.protocols.basic.LineReceiver})."""
        cast("Any", self.transport).write(_TOO_LONG)
        self.loseConnection()

    def timeoutConnection(self) -> None:
        """Close the connection, with a 408 response during a request (C{twisted.protocols.policies})."""
        if self._inside:
            self.site.rejected("request-timeout")
            cast("Any", self.transport).write(_TOO_SLOW)
        super().timeoutConnection()  # type: ignore[no-untyped-call]


class CallerSite(BoundedSite):
    """The site that listens for callers.

    @ivar buffered: the bytes of requests in memory now.
    @param serve: responds to a request, immediately or later.
    @param admits: returns whether to read the content of a request, from its head.
    @param rejected: receives the kind of each rejected request.
    @param authenticated: whether callers are authenticated.
    """

    protocol = CallerChannel

    def __init__(
        self,
        clock: IReactorTime,
        limits: ChannelLimits,
        *,
        serve: Callable[[ValidateRequest], None],
        admits: Callable[[ValidateRequest], bool],
        rejected: Callable[[str], object],
        authenticated: bool = False,
    ) -> None:
        bounds = ChannelBounds(limits.connections, limits.idle_timeout, limits.request_timeout)
        super().__init__(clock, bounds, Resource(), ValidateRequest)  # type: ignore[no-untyped-call]
        self.limits = limits
        self.serve = serve
        self.admits = admits
        self.buffered = 0
        self.rejected = rejected
        self.authenticated = authenticated
        self.draining = False
        self._drained: list[Deferred[None]] = []

    def connection_rejected(self) -> None:
        """See L{BoundedSite.connection_rejected}."""
        self.rejected("too-many-connections")

    def remove_channel(self, channel: BoundedChannel) -> None:
        """See L{BoundedSite.remove_channel}."""
        super().remove_channel(channel)
        self._fire_if_drained()

    def drain(self) -> Deferred[None]:
        """Close each connection once its requests have their responses.

        @return: fires when all connections are closed.
        """
        self.draining = True
        for channel in [channel for channel in self.channels if channel.idle]:
            channel.loseConnection()
        drained: Deferred[None] = Deferred(self._drained.remove)
        self._drained.append(drained)
        self._fire_if_drained()
        return drained

    def abort(self) -> None:
        """Abort the remaining connections."""
        for channel in list(self.channels):
            channel.abort()

    def _fire_if_drained(self) -> None:
        if self.channels:
            return
        waiting, self._drained = self._drained, []
        for drained in waiting:
            drained.callback(None)
