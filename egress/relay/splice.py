"""Flows inside the Linux kernel: pages move from one socket to the other through a pipe without being copied."""

from __future__ import annotations

import os
import socket
from typing import Final

from egress.config.model import MIB
from egress.relay.buffered import BufferedFlow, BufferedFlows, Flows

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows, where no socket is spliced
    fcntl = None  # type: ignore[assignment]

# With the default size, 64 KiB, splicing costs more than copying through a large buffer.
PIPE_SIZE: Final = MIB
# A flow has a pipe only while its receiver is slower than its sender, so most often one pipe serves all flows. The pipe
# sizes count against a limit of the user (fs.pipe-user-pages-soft, usually 64 MiB), which several processes may share.
MAX_PIPES: Final = 32
MAX_IDLE_PIPES: Final = 4


class Pipe:
    """A pipe of L{PIPE_SIZE}; it belongs to one flow at a time."""

    __slots__ = ("inlet", "outlet")

    def __init__(self) -> None:
        """Create a pipe.

        @raise PermissionError: if the user's pipe limit is reached.
        @raise OSError: if there are too many open files.
        """
        self.outlet, self.inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.inlet, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Discard the pipe and its content."""
        os.close(self.inlet)
        os.close(self.outlet)


class Pipes:
    """The pipes of a process: a flow borrows one while it holds data, and returns it empty.

    @param max_pipes: the maximum number of pipes.
    @ivar made: the number of pipes, borrowed or not.
    """

    def __init__(self, max_pipes: int = MAX_PIPES) -> None:
        self.made = 0
        self._max_pipes = max_pipes
        self._idle: list[Pipe] = []
        self._closed = False

    @property
    def idle(self) -> int:
        """The number of pipes that no flow has."""
        return len(self._idle)

    def borrow(self) -> Pipe | None:
        """Return an empty pipe, if one is available."""
        if self._idle:
            return self._idle.pop()
        if self.made >= self._max_pipes:
            return None
        try:
            pipe = Pipe()
        except PermissionError:
            # Do not retry: the limit will hardly change.
            self._max_pipes = self.made
            return None
        except OSError:
            return None
        self.made += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Return an empty pipe to the pool."""
        if self._closed or len(self._idle) >= MAX_IDLE_PIPES:
            self.discard(pipe)
        else:
            self._idle.append(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Discard a pipe that may not be empty: no other flow must get its content."""
        self.made -= 1
        pipe.close()

    def close(self) -> None:
        """Discard all idle pipes, now and in the future."""
        self._closed = True
        while self._idle:
            self.discard(self._idle.pop())


class SplicedFlow:
    """A flow through a pipe, which it has only while it holds data. Without an available pipe it uses the buffer."""

    __slots__ = ("_fallback", "_flows", "_pipe", "_sink", "_source", "held")

    def __init__(self, flows: SplicedFlows, source: socket.socket, sink: socket.socket) -> None:
        self.held = 0
        self._flows = flows
        self._source = source
        self._sink = sink
        self._pipe: Pipe | None = None
        self._fallback: BufferedFlow | None = None

    def fill(self, max_bytes: int = PIPE_SIZE) -> int:
        """See L{egress.relay.buffered.Flow.fill}."""
        pipes = self._flows.pipes
        pipe = pipes.borrow()
        if pipe is None:
            if self._fallback is None:
                self._fallback = self._flows.buffered.between(self._source, self._sink)
            self.held = self._fallback.fill(max_bytes)
            return self.held
        try:
            self.held = os.splice(
                self._source.fileno(), pipe.inlet, min(PIPE_SIZE, max_bytes), flags=os.SPLICE_F_NONBLOCK
            )
        finally:
            if self.held:
                self._pipe = pipe
            else:
                pipes.give_back(pipe)
        return self.held

    def drain(self) -> int:
        """See L{egress.relay.buffered.Flow.drain}."""
        pipe = self._pipe
        if pipe is None:
            assert self._fallback is not None
            sent = self._fallback.drain()
            self.held = self._fallback.held
            return sent
        try:
            sent = os.splice(pipe.outlet, self._sink.fileno(), self.held, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return 0
        self.held -= sent
        if not self.held:
            self._pipe = None
            self._flows.pipes.give_back(pipe)
        return sent

    def close(self) -> None:
        """See L{egress.relay.buffered.Flow.close}."""
        self.held = 0
        self._fallback = None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._flows.pipes.discard(pipe)


class SplicedFlows:
    """Creates flows through pipes.

    @param pipes: the pipes; C{None}: new ones.
    @ivar pipes: the pipes.
    @ivar buffered: creates the fallback flows, for when no pipe is available.
    """

    def __init__(self, pipes: Pipes | None = None) -> None:
        self.pipes = Pipes() if pipes is None else pipes
        self.buffered = BufferedFlows()

    def between(self, source: socket.socket, sink: socket.socket) -> SplicedFlow:
        """See L{egress.relay.buffered.Flows.between}."""
        return SplicedFlow(self, source, sink)

    def close(self) -> None:
        """See L{egress.relay.buffered.Flows.close}."""
        self.pipes.close()
        self.buffered.close()


def can_splice() -> bool:
    """Whether this Python and this system can splice sockets: some Linux-like systems cannot."""
    if not hasattr(os, "splice"):
        return False
    outlet, inlet = os.pipe()
    source, sink = socket.socketpair()
    try:
        source.send(b"?")
        return os.splice(sink.fileno(), inlet, 1) == 1 == os.splice(outlet, sink.fileno(), 1)
    except OSError:
        return False
    finally:
        os.close(outlet)
        os.close(inlet)
        source.close()
        sink.close()


def best_flows() -> Flows:
    """The most efficient flows that this system supports."""
    return SplicedFlows() if can_splice() else BufferedFlows()
