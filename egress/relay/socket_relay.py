"""The relay that moves bytes between the sockets of two transports, for large transfers.

A transport reads data into memory and passes it to a protocol, which writes it to the other transport. When a tunnel
has carried enough data, a socket relay takes over its sockets and moves bytes between them with
L{egress.relay.buffered}. Meanwhile the transports are out of the reactor. At the end, the relay returns the sockets,
and its owner closes the transports as usual.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from twisted.internet import tcp
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    ILoggingContext,
    IPushProducer,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.config.model import KIB, MIB
from egress.relay.budget import ByteBudget
from egress.relay.buffered import BUFFER, Flows

# The bytes that a tunnel carries in both directions before a takeover pays off.
TAKEOVER_BYTES: Final = 100 * KIB
# The bytes that are moved in one direction before other connections get their turn.
FAIR_SHARE_BYTES: Final = 2 * MIB
# After a smaller read, the source most likely has no more data: another read would cost more than an event of the
# reactor.
MIN_FULL_READ: Final = 64 * KIB


@implementer(IReadDescriptor, IWriteDescriptor, IHalfCloseableDescriptor, IPushProducer, ILoggingContext)
class SocketEnd:
    """One of the two sockets of a relay, and the direction that starts there.

    It is registered as its transport's producer.  A transport notifies its producer before it closes its socket for any
    reason.  The producer then removes the socket from the reactor.

    @ivar moved: bytes of this direction that the other end has taken.
    @ivar ended: whether this direction is complete: all data, including the end of the stream, was passed to the other
        end.
    """

    __slots__ = (
        "_flow",
        "_reactor",
        "_reading",
        "_relay",
        "_writing",
        "ended",
        "moved",
        "peer",
        "socket",
        "transport",
    )

    peer: SocketEnd

    def __init__(self, relay: SocketRelay, transport: tcp.Connection) -> None:
        self.transport = transport
        self.moved = 0
        self.ended = False
        self._relay = relay
        self._reactor = transport.reactor
        self.socket: socket.socket = transport.getHandle()
        self._reading = False
        self._writing = False

    def take(self, peer: SocketEnd, flows: Flows) -> None:
        """Take over the socket from its transport."""
        self.peer = peer
        self._flow = flows.between(self.socket, peer.socket)
        # Not a pause, which may leave the transport in the reactor.
        self.transport.stopReading()  # type: ignore[no-untyped-call]
        self.transport.unregisterProducer()  # type: ignore[no-untyped-call]
        self.transport.registerProducer(self, True)  # type: ignore[no-untyped-call]

    def give_back(self) -> None:
        """Leave the reactor, and return the socket to its transport."""
        self.watch_reads(False)
        self.watch_writes(False)
        self._flow.close()
        self.transport.unregisterProducer()  # type: ignore[no-untyped-call]

    # -- reactor

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return "relay"

    def watch_reads(self, wanted: bool) -> None:
        """Start or stop watching for data."""
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                self._reactor.addReader(self)
            else:
                self._reactor.removeReader(self)

    def read_on(self) -> None:
        """Watch for data again, unless this direction has ended, or the other end does not take its data now."""
        if not (self.ended or self._flow.held):
            self.watch_reads(True)

    def watch_writes(self, wanted: bool) -> None:
        """Start or stop watching for the ability to take data."""
        if wanted is not self._writing:
            self._writing = wanted
            if wanted:
                self._reactor.addWriter(self)
            else:
                self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Handle available data or the end of the stream."""
        if not (self._relay.over or self._relay.held):
            self.move()

    def doWrite(self) -> None:
        """Handle that the socket can take data of the other end."""
        if not self._relay.over:
            self.peer.move()

    def readConnectionLost(self, reason: Failure) -> None:
        """Handle a hang-up: the reactor no longer reads, so read the state from the socket."""
        self._reading = False
        self.doRead()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Reactors do not call this; see L{connectionLost}."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Handle a broken connection."""
        self._relay.end(self)

    # -- transfer

    def move(self) -> None:
        """Transfer the available data, up to the limit of one turn, or until the other end takes no more."""
        before = self.moved
        try:
            self._transfer(before + FAIR_SHARE_BYTES)
        finally:
            if self.moved > before and not self._relay.over:
                self._relay.active()

    def _transfer(self, limit: int) -> None:
        flow, relay = self._flow, self._relay
        budget = relay.budget
        more = True
        while True:
            if flow.held:
                try:
                    self.moved += flow.drain()
                except OSError:
                    self._relay.end(self.peer)
                    return
                if flow.held:
                    self.watch_reads(False)
                    self.peer.watch_writes(True)
                    return
            if not more or relay.held or self.moved >= limit:
                break
            size = BUFFER if budget is None else budget.next_read(BUFFER)
            if not size:
                break
            try:
                filled = flow.fill(size)
            except BlockingIOError:
                break
            except OSError:
                self._relay.end(self)
                return
            if not filled:
                self._end()
                return
            if budget is not None and not budget.consume(filled):
                # The budget has ended the relay: nothing of this was passed on.
                return
            more = filled >= MIN_FULL_READ
        self.peer.watch_writes(False)
        self.watch_reads(not relay.held)

    def _end(self) -> None:
        """Handle the end of this end's data: pass it to the other end."""
        self.ended = True
        self.watch_reads(False)
        self.peer.watch_writes(False)
        try:
            self.peer.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._relay.end(self.peer)
            return
        if self.peer.ended:
            self._relay.end(None)

    # -- transport

    def pauseProducing(self) -> None:
        """Do nothing: nothing is written to the transport, so its buffer is never full."""

    def resumeProducing(self) -> None:
        """Do nothing: the transport's buffer is never full."""

    def stopProducing(self) -> None:
        """Stop: the transport is about to close the socket."""
        self._relay.stop()


class SocketRelay:
    """Moves bytes in both directions between two sockets, with backpressure.

    @param active: is called after each transfer.
    @param ended: is called once at the end, with the L{SocketEnd} that broke, or C{None} if both directions are
        complete; not called after L{stop}.
    @param budget: the byte limit, if there is one.
    @ivar client: the client's end.
    @ivar held: whether nothing is read now, because the budget waits.
    @ivar origin: the origin's end.
    @ivar over: whether the sockets were returned.
    """

    __slots__ = ("_ended", "active", "budget", "client", "held", "origin", "over")

    def __init__(
        self,
        client: tcp.Connection,
        origin: tcp.Connection,
        flows: Flows,
        *,
        active: Callable[[], None],
        ended: Callable[[SocketEnd | None], None],
        budget: ByteBudget | None = None,
    ) -> None:
        self.active = active
        self.budget = budget
        self.held = self.over = False
        self._ended = ended
        self.client = SocketEnd(self, client)
        self.origin = SocketEnd(self, origin)
        self.client.take(self.origin, flows)
        self.origin.take(self.client, flows)
        for end in (self.client, self.origin):
            end.watch_reads(True)

    def hold(self) -> None:
        """Read nothing more until L{release}."""
        self.held = True
        for end in (self.client, self.origin):
            end.watch_reads(False)

    def release(self) -> None:
        """Read again."""
        self.held = False
        if not self.over:
            for end in (self.client, self.origin):
                end.read_on()

    def end(self, broken: SocketEnd | None) -> None:
        """Return the sockets, and notify the owner."""
        if not self.over:
            self.stop()
            self._ended(broken)

    def stop(self) -> None:
        """Return the sockets, unless they were returned already."""
        if not self.over:
            self.over = True
            self.client.give_back()
            self.origin.give_back()


def _is_ready(transport: object) -> bool:
    """Whether a socket can be taken over now: a TCP connection in full working order, with no data left to send.

    Not possible below a TLS layer, or with Twisted's own TLS, which is a flag of the transport.
    """
    return (
        isinstance(transport, tcp.Connection)
        and transport.connected == 1
        and not (transport.disconnecting or transport.TLS)
        and not (transport._tempDataBuffer or len(transport.dataBuffer) > transport.offset)  # noqa: SLF001 - Twisted has no other name for it
    )


def relay_between(
    client: object,
    origin: object,
    flows: Flows,
    active: Callable[[], None],
    ended: Callable[[SocketEnd | None], None],
    *,
    budget: ByteBudget | None = None,
) -> SocketRelay | None:
    """Create a socket relay, if neither transport has data left to send.

    @return: C{None} if a takeover is not possible now.
    """
    if not (_is_ready(client) and _is_ready(origin)):
        return None
    assert isinstance(client, tcp.Connection) and isinstance(origin, tcp.Connection)
    return SocketRelay(client, origin, flows, active=active, ended=ended, budget=budget)
