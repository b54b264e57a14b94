"""HTTP connections to servers of our own, bounded in number, time and work.

L{twisted.web} reads HTTP.  What it leaves without a bound has one here: how many connections there are, how long a
request may take to arrive, and how much is done in one turn of the reactor.  A connection that has not shown that its
client may use the server is closed for a new one when there is no room: no number of slow connections keeps out a
client with a token.
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

# What is read of heads and of chunks in one turn of the reactor, in bytes: a few requests at most.
_SLICE: Final = 1024
# How long a client may take to receive the last answer, in seconds.
_PATIENCE: Final = 10.0


@attrs.frozen
class ChannelBounds:
    """The bounds of connections.

    @ivar connections: how many are open.
    @ivar idle_timeout: seconds before the first request and between two of them.
    @ivar request_timeout: seconds from the first byte of a request to its last.
    """

    connections: int = 64
    idle_timeout: float = 30.0
    request_timeout: float = 10.0


@implementer(IHalfCloseableProtocol)
class BoundedChannel(HTTPChannel):
    """A connection.

    @ivar known: whether its client has shown that it may use the server.
    @ivar client: what the connections of one client have in common.
    """

    site: BoundedSite
    known = False
    client = ""
    _inside = _feeding = False
    _later = b""
    _lingering: LingeringClose | None = None

    def connectionMade(self) -> None:
        """Begin (L{twisted.internet.interfaces.IProtocol})."""
        self._pace = Pace(self.site.turns, self._go_on)
        self.site.channels[self] = None
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End (L{twisted.internet.interfaces.IProtocol})."""
        self._later = b""
        if self._lingering is not None:
            self._lingering.stop()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.site.gone(self)

    def readConnectionLost(self) -> None:
        """The client sends no more (L{IHalfCloseableProtocol})."""
        if self._lingering is not None:
            self._lingering.read_closed()
        else:
            super().loseConnection()  # type: ignore[no-untyped-call]

    def writeConnectionLost(self) -> None:
        """Everything was sent (L{IHalfCloseableProtocol})."""
        if self._lingering is not None:
            self._lingering.write_closed()

    # -- reading, a bounded amount in each turn

    def dataReceived(self, data: bytes) -> None:
        """Take what was read (L{twisted.internet.interfaces.IProtocol})."""
        if self._lingering is not None:
            self._lingering.data_received(data)
        elif self._feeding or self._pace.queued:
            # Within a turn, it is what came behind a request that was answered at once.
            self._later += data
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
        self._later += data
        if self._later and self._lingering is None:
            cast("Any", self.transport).pauseProducing()
            self._pace.wait(self.client, self.transport)

    def _feed_some(self, data: bytes) -> bytes:
        if not self._is_content:
            super().dataReceived(data[:_SLICE])  # type: ignore[no-untyped-call]
            data = data[_SLICE:]
        if data and self._is_content and not self._later:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
            return b""
        return data

    @property
    def _is_content(self) -> bool:
        """Whether what comes next is only kept: content with a length, or requests behind one that is answered."""
        return self._handlingRequest or isinstance(self._transferDecoder, _IdentityTransferDecoder)

    def _go_on(self) -> None:
        data, self._later = self._later, b""
        if data and self._lingering is None:
            self._feed(data)
            if not (self._pace.queued or self._handlingRequest or self._waitingForTransport):
                cast("Any", self.transport).resumeProducing()

    # -- time

    def resetTimeout(self) -> None:
        """Let the time go on: another byte is no reason to begin it anew (L{twisted.protocols.policies})."""

    def allContentReceived(self) -> None:
        """A request is complete; from its answer on, the connection may be idle for a while."""
        self._inside = False
        self.setTimeout(self.site.bounds.idle_timeout)  # type: ignore[no-untyped-call]
        super().allContentReceived()  # type: ignore[no-untyped-call]

    @property
    def idle(self) -> bool:
        """Whether there is no request, not even the beginning of one."""
        return not self._inside and not self.requests

    @property
    def may_make_room(self) -> bool:
        """Whether it may be closed for another one."""
        return not (self.known or self._handlingRequest)

    # -- the end

    def loseConnection(self) -> None:
        """Close once what was written is sent, in a way that the client gets it (L{HTTPChannel.loseConnection})."""
        if self._lingering is None and cast("Any", self.transport) is not None:
            cast("Any", self._networkProducer).unregisterProducer()
            self.setTimeout(None)  # type: ignore[no-untyped-call]
            # Nothing more is read of what has come.
            self.paused = True
            cast("Any", self.transport).resumeProducing()
            self._lingering = LingeringClose(self.transport, self.site.clock, _PATIENCE)

    def abort(self) -> None:
        """Cut it."""
        cast("Any", self.transport).abortConnection()


class _Turned(Protocol):
    """A connection that there is no room for.  A client would try again, and finds out soonest so."""

    def connectionMade(self) -> None:
        """Cut it."""
        cast("Any", self.transport).abortConnection()


class BoundedSite(Site):
    """What listens.  It has no access log.

    @ivar channels: the connections that are open, the oldest first.
    @ivar turns: the work that is left for later turns of the reactor.
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
        """Log nothing (L{twisted.web.http.HTTPFactory.log})."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Begin a connection, where there is room (L{twisted.internet.interfaces.IProtocolFactory})."""
        if len(self.channels) >= self.bounds.connections and not self._make_room():
            self.no_room()
            return _Turned()
        channel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        channel.client = limit_key(addr.host) if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        return channel

    def _make_room(self) -> bool:
        """Close a connection of the client that has the most of those that may be closed: its oldest."""
        found = [channel for channel in self.channels if channel.may_make_room]
        if not found:
            return False
        client = Counter(channel.client for channel in found).most_common(1)[0][0]
        oldest = next(channel for channel in found if channel.client == client)
        self.gone(oldest)
        oldest.abort()
        return True

    def no_room(self) -> None:
        """A connection is turned away."""

    def gone(self, channel: BoundedChannel) -> None:
        """A connection is over, or as good as over."""
        self.channels.pop(channel, None)
