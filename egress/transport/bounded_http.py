"""A server for the proxy's own HTTP endpoints, with limits on connections, time and work.

C{twisted.web} parses HTTP. This module adds the limits that it lacks: on the number of connections, the time until a
request is complete, and the work per turn of the reactor. At the connection limit, a new connection replaces one whose
client has not authenticated yet, so that slow connections cannot lock out a client with a token.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.http import HTTPChannel, _IdentityTransferDecoder
from twisted.web.server import Site
from zope.interface import implementer

from egress.model.limit_key import limit_key
from egress.transport.fair_turns import Pace, RoundRobin
from egress.transport.lingering_close import LingeringClose

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.http import Request
    from twisted.web.resource import IResource

# The bytes of heads and chunks that are parsed in one turn of the reactor: a few requests at most.
_SLICE: Final = 1024
# The time in seconds that a client may take to receive the last response.
_SEND_TIMEOUT: Final = 10.0


@attrs.frozen
class ChannelBounds:
    """The limits of connections.

    @ivar connections: the maximum number of open connections.
    @ivar idle_timeout: seconds before the first request and between requests.
    @ivar request_timeout: seconds from the first byte of a request to its last.
    """

    connections: int = 64
    idle_timeout: float = 30.0
    request_timeout: float = 10.0


@implementer(IHalfCloseableProtocol)
class BoundedChannel(HTTPChannel):
    """A connection with limits.

    @ivar known: whether the client has authenticated.
    @ivar client: the client's key for per-client limits.
    """

    site: BoundedSite
    known = False
    client = ""
    _inside = _feeding = False
    _deferred = b""
    _lingering: LingeringClose | None = None

    def connectionMade(self) -> None:
        """Register the connection (C{twisted.internet.interfaces.IProtocol})."""
        self._pace = Pace(self.site.turns, self._continue)
        self.site.channels[self] = None
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Unregister the connection (C{twisted.internet.interfaces.IProtocol})."""
        self._deferred = b""
        if self._lingering is not None:
            self._lingering.stop()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.remove_channel(self)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data (C{IHalfCloseableProtocol})."""
        if self._lingering is not None:
            self._lingering.read_closed()
        else:
            super().loseConnection()  # type: ignore[no-untyped-call]

    def writeConnectionLost(self) -> None:
        """Handle that all data was sent (C{IHalfCloseableProtocol})."""
        if self._lingering is not None:
            self._lingering.write_closed()

    # -- reading, with limited work per turn

    def dataReceived(self, data: bytes) -> None:
        """Process received data (C{twisted.internet.interfaces.IProtocol})."""
        if self._lingering is not None:
            self._lingering.data_received(data)
        elif self._feeding or self._pace.queued:
            # Within a turn, this is the data after a request that got an immediate response.
            self._deferred += data
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        if not self._inside and not self.requests:
            self._inside = True
            self.setTimeout(self.site.bounds.request_timeout)  # type: ignore[no-untyped-call]
        self._feeding = True
        try:
            data = self._feed_some(data)
        finally:
            self._feeding = False
        self._deferred += data
        if self._deferred and self._lingering is None:
            cast("Any", self.transport).pauseProducing()
            self._pace.wait(self.client, self.transport)

    def _feed_some(self, data: bytes) -> bytes:
        if not self._is_content:
            super().dataReceived(data[:_SLICE])  # type: ignore[no-untyped-call]
            data = data[_SLICE:]
        if data and self._is_content and not self._deferred:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return b""
        return data

    @property
    def _is_content(self) -> bool:
        """Whether the next bytes are only stored: content with a length, or requests that follow one in progress."""
        return self._handlingRequest or isinstance(self._transferDecoder, _IdentityTransferDecoder)

    def _continue(self) -> None:
        data, self._deferred = self._deferred, b""
        if data and self._lingering is None:
            self._feed(data)
            if not (self._pace.queued or self._handlingRequest or self._waitingForTransport):
                cast("Any", self.transport).resumeProducing()

    # -- timeouts

    def resetTimeout(self) -> None:
        """Do nothing: further bytes do not restart the timeout (C{twisted.protocols.policies})."""

    def allContentReceived(self) -> None:
        """Handle a complete request; after its response, the idle timeout applies."""
        self._inside = False
        self.setTimeout(self.site.bounds.idle_timeout)  # type: ignore[no-untyped-call]
        super().allContentReceived()  # type: ignore[no-untyped-call]

    @property
    def requested_path(self) -> bytes:
        """The path of the request whose head is complete, before C{Request.path} is set."""
        uri: bytes = self._path
        return uri.partition(b"?")[0]

    @property
    def idle(self) -> bool:
        """Whether there is no request, not even an incomplete one."""
        return not self._inside and not self.requests

    @property
    def evictable(self) -> bool:
        """Whether it may be closed in favor of a new connection."""
        return not (self.known or self._handlingRequest)

    # -- end

    def loseConnection(self) -> None:
        """Close after all data is sent, without losing the last response (C{HTTPChannel.loseConnection})."""
        if self._lingering is None and cast("Any", self.transport) is not None:
            cast("Any", self._networkProducer).unregisterProducer()
            self.setTimeout(None)  # type: ignore[no-untyped-call]
            # Parse no more of the received data.
            self.paused = True
            cast("Any", self.transport).resumeProducing()
            self._lingering = LingeringClose(self.transport, self.site.clock, _SEND_TIMEOUT)

    def abort(self) -> None:
        """Abort the connection."""
        cast("Any", self.transport).abortConnection()


class _Rejected(Protocol):
    """A connection over the limit. It is aborted immediately, so that the client can retry soon."""

    def connectionMade(self) -> None:
        """Abort the connection."""
        cast("Any", self.transport).abortConnection()


class BoundedSite(Site):
    """The server factory. It writes no access log.

    @ivar channels: the open connections, the oldest first.
    @ivar turns: the scheduler of work for later turns of the reactor.
    """

    noisy = False
    protocol = BoundedChannel  # type: ignore[assignment]

    def __init__(
        self, clock: IReactorTime, bounds: ChannelBounds, resource: IResource, request_factory: type[Request]
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource,
            requestFactory=request_factory,
            parsePOSTFormSubmission=False,
            timeout=bounds.idle_timeout,
            reactor=clock,
        )
        self.clock = clock
        self.bounds = bounds
        self.channels: dict[BoundedChannel, None] = {}
        self.turns = RoundRobin(clock)

    def log(self, request: object) -> None:
        """Log nothing (C{twisted.web.http.HTTPFactory.log})."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Create a connection, within the limit (C{twisted.internet.interfaces.IProtocolFactory})."""
        if len(self.channels) >= self.bounds.connections and not self._evict():
            self.connection_rejected()
            return _Rejected()
        channel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        channel.client = limit_key(addr.host) if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        return channel

    def _evict(self) -> bool:
        """Close the oldest evictable connection of the client that has the most evictable connections."""
        candidates = [channel for channel in self.channels if channel.evictable]
        if not candidates:
            return False
        client = Counter(channel.client for channel in candidates).most_common(1)[0][0]
        oldest = next(channel for channel in candidates if channel.client == client)
        self.remove_channel(oldest)
        oldest.abort()
        return True

    def connection_rejected(self) -> None:
        """Handle a rejected connection; subclasses count it."""

    def remove_channel(self, channel: BoundedChannel) -> None:
        """Remove a connection that has ended or is being aborted."""
        self.channels.pop(channel, None)
