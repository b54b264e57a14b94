"""Relaying in the large: the two sockets of a tunnel, taken over from their transports.

A transport reads into memory and hands what it read to a protocol, which writes it to the other transport.  Once a
tunnel has carried so much that a change is worth it, a pump takes its sockets over and moves bytes from one to the
other by L{egress.relay.buffered}.  The transports wait for the end, out of the reactor: the pump gives the sockets
back, and its owner closes the transports as it would have before.
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

# What a tunnel carries, both ways together, before a pump is worth it.
TAKEOVER_BYTES: Final = 100 * KIB
# What is moved in one direction before the other connections get their turn.
FAIR_SHARE_BYTES: Final = 2 * MIB
# After less than this, the source most likely has no more now: asking would cost more than the reactor telling.
DRAINED_BELOW: Final = 64 * KIB


@implementer(IReadDescriptor, IWriteDescriptor, IHalfCloseableDescriptor, IPushProducer, ILoggingContext)
class SocketEnd:
    """One of the two sockets of a pump, and the direction that begins there.

    It is registered as its transport's producer: a transport tells its producer when it is about to close its socket,
    whoever asked for that, and the socket must be out of the reactor by then.

    @ivar moved: bytes of this direction that the other end has taken.
    @ivar ended: whether this direction is over: what came was given to the other end, and that it was all.
    """

    __slots__ = ("_flow", "_pump", "_reactor", "_reading", "_socket", "_writing", "ended", "moved", "peer", "transport")

    peer: SocketEnd

    def __init__(self, pump: SocketRelay, transport: tcp.Connection) -> None:
        self.transport = transport
        self.moved = 0
        self.ended = False
        self._pump = pump
        self._reactor = transport.reactor
        self._socket: socket.socket = transport.getHandle()
        self._reading = False
        self._writing = False

    def take(self, peer: SocketEnd, flows: Flows) -> None:
        """Take the socket over from its transport."""
        self.peer = peer
        self._flow = flows.between(self._socket, peer._socket)
        self.transport.pauseProducing()  # type: ignore[no-untyped-call]
        self.transport.unregisterProducer()  # type: ignore[no-untyped-call]
        self.transport.registerProducer(self, True)  # type: ignore[no-untyped-call]

    def give_back(self) -> None:
        """Leave the reactor, and the socket to its transport."""
        self._read(False)
        self._write(False)
        self._flow.close()
        self.transport.unregisterProducer()  # type: ignore[no-untyped-call]

    # -- the reactor

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return "relay"

    def _read(self, wanted: bool) -> None:
        if wanted is not self._reading:
            self._reading = wanted
            if wanted:
                self._reactor.addReader(self)
            else:
                self._reactor.removeReader(self)

    def _write(self, wanted: bool) -> None:
        if wanted is not self._writing:
            self._writing = wanted
            if wanted:
                self._reactor.addWriter(self)
            else:
                self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Something came, or the end."""
        if not self._pump.over:
            self.move()

    def doWrite(self) -> None:
        """There is room for what the other end has."""
        if not self._pump.over:
            self.peer.move()

    def readConnectionLost(self, reason: Failure) -> None:
        """The reactor saw a hang-up, and reads no more: what it means, the socket says."""
        self._reading = False
        self.doRead()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Reactors do not call it; see L{connectionLost}."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the connection is broken."""
        self._pump.end(self)

    # -- moving

    def move(self) -> None:
        """Pass on what there is, until that is all, or the other end takes no more, or others have their turn."""
        before = self.moved
        try:
            self._move(before + FAIR_SHARE_BYTES)
        finally:
            if self.moved > before and not self._pump.over:
                self._pump.active()

    def _move(self, enough: int) -> None:
        flow, budget = self._flow, self._pump.budget
        more = True
        while True:
            if flow.held:
                try:
                    self.moved += flow.drain()
                except OSError:
                    self._pump.end(self.peer)
                    return
                if flow.held:
                    self._read(False)
                    self.peer._write(True)
                    return
            if not more or self.moved >= enough:
                break
            try:
                filled = flow.fill() if budget is None else flow.fill(self._pump.most())
            except BlockingIOError:
                break
            except OSError:
                self._pump.end(self)
                return
            if not filled:
                self._end()
                return
            if budget is not None and not budget.consume(filled):
                # It is over: nothing of this was passed on.
                return
            more = filled >= DRAINED_BELOW
        self.peer._write(False)
        self._read(True)

    def _end(self) -> None:
        """This end sends no more: tell the other."""
        self.ended = True
        self._read(False)
        self.peer._write(False)
        try:
            self.peer._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._pump.end(self.peer)
            return
        if self.peer.ended:
            self._pump.end(None)

    # -- the transport

    def pauseProducing(self) -> None:
        """Nothing is written to the transport, so it is never full."""

    def resumeProducing(self) -> None:
        """And never empty again."""

    def stopProducing(self) -> None:
        """The transport is about to close the socket."""
        self._pump.stop()


class SocketRelay:
    """Moves bytes both ways between two sockets, each way held back when its receiver is slow.

    @param active: is told whenever something has moved.
    @param ended: is told the end, once, with the L{SocketEnd} that broke, or C{None} when both directions are over; not
        when the pump was stopped.
    @param budget: says how much may flow, where there is a bound.
    @ivar near: the client's end.
    @ivar far: the origin's end.
    @ivar over: whether it has given its sockets back.
    """

    __slots__ = ("_ended", "active", "budget", "client", "origin", "over")

    def __init__(
        self,
        near: tcp.Connection,
        far: tcp.Connection,
        flows: Flows,
        active: Callable[[], None],
        ended: Callable[[SocketEnd | None], None],
        budget: ByteBudget | None = None,
    ) -> None:
        self.active = active
        self.budget = budget
        self.over = False
        self._ended = ended
        self.client = SocketEnd(self, near)
        self.origin = SocketEnd(self, far)
        self.client.take(self.origin, flows)
        self.origin.take(self.client, flows)
        for end in (self.client, self.origin):
            end._read(True)

    def most(self) -> int:
        """What may be taken at once: a byte over what is left shows that there is more, and is not passed on."""
        left = self.budget.remaining if self.budget is not None else None
        return BUFFER if left is None else min(BUFFER, max(0, left) + 1)

    def end(self, broken: SocketEnd | None) -> None:
        """Give the sockets back, and tell the owner."""
        if not self.over:
            self.stop()
            self._ended(broken)

    def stop(self) -> None:
        """Give the sockets back, unless that is done."""
        if not self.over:
            self.over = True
            self.client.give_back()
            self.origin.give_back()


def _is_ready(transport: object) -> bool:
    """Whether a transport's socket can be taken over now: a TCP connection in full working order, with nothing to send.

    Not one below TLS, nor Twisted's own TLS, which is a flag of the transport.
    """
    return (
        isinstance(transport, tcp.Connection)
        and transport.connected == 1
        and not (transport.disconnecting or transport.TLS)
        and not (transport._tempDataBuffer or len(transport.dataBuffer) > transport.offset)
    )


def relay_between(
    near: object,
    far: object,
    flows: Flows,
    active: Callable[[], None],
    ended: Callable[[SocketEnd | None], None],
    budget: ByteBudget | None = None,
) -> SocketRelay | None:
    """Have a pump take over, if neither transport has anything left to send.

    @return: C{None} when that is not so now.
    """
    if not (_is_ready(near) and _is_ready(far)):
        return None
    assert isinstance(near, tcp.Connection) and isinstance(far, tcp.Connection)
    return SocketRelay(near, far, flows, active, ended, budget)
