"""One direction between two sockets, unread: what a pump asks of it, and the portable way through a buffer."""

from __future__ import annotations

import socket
from typing import Final, Protocol

from egress.config.model import KIB, MIB

# One buffer serves all flows of a process: between two turns of the reactor nothing is in it.
BUFFER: Final = MIB
# What is read at once for a receiver that did not take all of the last read: so much may have to be kept for it.
CAUTIOUS: Final = 64 * KIB


class Flow(Protocol):
    """Bytes on their way from one socket to another.

    C{drain} follows every C{fill}, before anything else is filled.

    @ivar held: bytes that were taken from the source and not yet given to the sink.
    """

    held: int

    def fill(self, most: int = BUFFER) -> int:
        """Take from the source what is there, while nothing is held.

        @param most: bytes, at least one.
        @return: how many bytes; 0 at the end.
        @raise BlockingIOError: when nothing is there.
        @raise OSError: when the source is broken.
        """

    def drain(self) -> int:
        """Give the sink what is held.

        @return: how many bytes it took.  What is held after that, it does not take now.
        @raise OSError: when the sink is broken.
        """

    def close(self) -> None:
        """Let go of what is held."""


class Flows(Protocol):
    """Where flows come from, and what they share."""

    def between(self, source: socket.socket, sink: socket.socket) -> Flow:
        """Make a flow."""

    def close(self) -> None:
        """Let go of what flows share; those that there are can still end."""


class BufferedFlow:
    """A flow through a buffer."""

    __slots__ = ("_flows", "_rest", "_sink", "_size", "_source", "held")

    def __init__(self, flows: BufferedFlows, source: socket.socket, sink: socket.socket) -> None:
        self.held = 0
        self._flows = flows
        self._source = source
        self._sink = sink
        self._size = CAUTIOUS
        self._rest: memoryview | None = None

    def fill(self, most: int = BUFFER) -> int:
        """See L{Flow.fill}."""
        self.held = self._source.recv_into(self._flows.buffer, min(self._size, most))
        return self.held

    def drain(self) -> int:
        """See L{Flow.drain}."""
        rest = self._rest if self._rest is not None else memoryview(self._flows.buffer)[: self.held]
        try:
            sent = self._sink.send(rest)
        except BlockingIOError:
            sent = 0
        self.held -= sent
        if not self.held:
            if self._rest is None:
                self._size = min(2 * self._size, BUFFER)
            self._rest = None
        elif self._rest is None:
            # The buffer is for the next flow.
            self._size = CAUTIOUS
            self._rest = memoryview(bytes(rest[sent:]))
        else:
            self._rest = rest[sent:]
        return sent

    def close(self) -> None:
        """See L{Flow.close}."""
        self.held = 0
        self._rest = None


class BufferedFlows:
    """Flows through one buffer."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = None

    @property
    def buffer(self) -> bytearray:
        """What all of them read into."""
        if self._buffer is None:
            self._buffer = bytearray(BUFFER)
        return self._buffer

    def between(self, source: socket.socket, sink: socket.socket) -> BufferedFlow:
        """See L{Flows.between}."""
        return BufferedFlow(self, source, sink)

    def close(self) -> None:
        """See L{Flows.close}."""
        self._buffer = None
