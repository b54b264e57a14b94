"""The one-directional flow of bytes between two sockets: its interface, and the portable implementation with a
buffer.
"""

from __future__ import annotations

import socket
from typing import Final, Protocol

from egress.config.model import KIB, MIB

# One buffer serves all flows of a process: it is empty between two turns of the reactor.
BUFFER: Final = MIB
# The read size for a receiver that did not take all of the last read, because the rest must be stored for it.
SMALL_READ: Final = 64 * KIB


class Flow(Protocol):
    """A flow of bytes from one socket to another.

    C{drain} follows every C{fill}, before another flow is filled.

    @ivar held: the number of bytes read from the source and not yet written to the sink.
    """

    held: int

    def fill(self, max_bytes: int = BUFFER) -> int:
        """Read available bytes from the source. Call it only while C{held} is 0.

        @param max_bytes: the maximum number of bytes, at least one.
        @return: the number of bytes read; 0 at the end of the stream.
        @raise BlockingIOError: if no bytes are available.
        @raise OSError: if the source connection is broken.
        """

    def drain(self) -> int:
        """Write the buffered bytes to the sink.

        @return: the number of bytes written. The sink cannot take the remaining bytes now.
        @raise OSError: if the sink connection is broken.
        """

    def close(self) -> None:
        """Discard the buffered bytes."""


class Flows(Protocol):
    """Creates flows, and owns the resources that they share."""

    def between(self, source: socket.socket, sink: socket.socket) -> Flow:
        """Create a flow."""

    def close(self) -> None:
        """Release the shared resources. Existing flows can still finish."""


class BufferedFlow:
    """A flow through a buffer."""

    __slots__ = ("_flows", "_remaining", "_sink", "_size", "_source", "held")

    def __init__(self, flows: BufferedFlows, source: socket.socket, sink: socket.socket) -> None:
        self.held = 0
        self._flows = flows
        self._source = source
        self._sink = sink
        self._size = SMALL_READ
        self._remaining: memoryview | None = None

    def fill(self, max_bytes: int = BUFFER) -> int:
        """See L{Flow.fill}."""
        self.held = self._source.recv_into(self._flows.buffer, min(self._size, max_bytes))
        return self.held

    def drain(self) -> int:
        """See L{Flow.drain}."""
        remaining = self._remaining if self._remaining is not None else memoryview(self._flows.buffer)[: self.held]
        try:
            sent = self._sink.send(remaining)
        except BlockingIOError:
            sent = 0
        self.held -= sent
        if not self.held:
            if self._remaining is None:
                self._size = min(2 * self._size, BUFFER)
            self._remaining = None
        elif self._remaining is None:
            # Copy the rest: the next flow uses the buffer.
            self._size = SMALL_READ
            self._remaining = memoryview(bytes(remaining[sent:]))
        else:
            self._remaining = remaining[sent:]
        return sent

    def close(self) -> None:
        """See L{Flow.close}."""
        self.held = 0
        self._remaining = None


class BufferedFlows:
    """Creates flows that share one buffer."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = None

    @property
    def buffer(self) -> bytearray:
        """The buffer into which all flows read."""
        if self._buffer is None:
            self._buffer = bytearray(BUFFER)
        return self._buffer

    def between(self, source: socket.socket, sink: socket.socket) -> BufferedFlow:
        """See L{Flows.between}."""
        return BufferedFlow(self, source, sink)

    def close(self) -> None:
        """See L{Flows.close}."""
        self._buffer = None
