"""Flows inside the kernel, on Linux: pages go from one socket to the other through a pipe, and are not copied."""

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
# A flow has a pipe only while its receiver is slower than its sender, so most often one serves all.  Their sizes count
# against a limit of the user's (fs.pipe-user-pages-soft, 64 MiB most often), which several processes may share.
MAX_PIPES: Final = 32
MAX_IDLE_PIPES: Final = 4


class Pipe:
    """A pipe of L{PIPE_SIZE}; it belongs to one flow at a time."""

    __slots__ = ("inlet", "outlet")

    def __init__(self) -> None:
        """Make one.

        @raise PermissionError: when the user has too much in pipes.
        @raise OSError: when there are too many open files.
        """
        self.outlet, self.inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.inlet, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Throw it away, with what is in it."""
        os.close(self.inlet)
        os.close(self.outlet)


class Pipes:
    """The pipes of a process: each is borrowed while something is in it, and comes back empty.

    @ivar made: how many there are, borrowed or not.
    """

    def __init__(self) -> None:
        self.made = 0
        self._most = MAX_PIPES
        self._kept: list[Pipe] = []
        self._closed = False

    def borrow(self) -> Pipe | None:
        """Take an empty pipe, if there is one to be had."""
        if self._kept:
            return self._kept.pop()
        if self.made >= self._most:
            return None
        try:
            pipe = Pipe()
        except PermissionError:
            # Asked again each time, the answer would hardly be another.
            self._most = self.made
            return None
        except OSError:
            return None
        self.made += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take back an empty pipe."""
        if self._closed or len(self._kept) >= MAX_IDLE_PIPES:
            self.discard(pipe)
        else:
            self._kept.append(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Throw away a pipe that may not be empty: nobody else must get what is in it."""
        self.made -= 1
        pipe.close()

    def close(self) -> None:
        """Keep none, from now on."""
        self._closed = True
        while self._kept:
            self.discard(self._kept.pop())


class SplicedFlow:
    """A flow through a pipe, which it has only while something is in it; when there is none, through the buffer."""

    __slots__ = ("_flows", "_instead", "_pipe", "_sink", "_source", "held")

    def __init__(self, flows: SplicedFlows, source: socket.socket, sink: socket.socket) -> None:
        self.held = 0
        self._flows = flows
        self._source = source
        self._sink = sink
        self._pipe: Pipe | None = None
        self._instead: BufferedFlow | None = None

    def fill(self, most: int = PIPE_SIZE) -> int:
        """See L{egress.relay.buffered.Flow.fill}."""
        pipes = self._flows.pipes
        pipe = pipes.borrow()
        if pipe is None:
            if self._instead is None:
                self._instead = self._flows.buffered.between(self._source, self._sink)
            self.held = self._instead.fill(most)
            return self.held
        try:
            self.held = os.splice(self._source.fileno(), pipe.inlet, min(PIPE_SIZE, most), flags=os.SPLICE_F_NONBLOCK)
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
            assert self._instead is not None
            sent = self._instead.drain()
            self.held = self._instead.held
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
        self._instead = None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._flows.pipes.discard(pipe)


class SplicedFlows:
    """Flows through pipes.

    @ivar pipes: the pipes.
    @ivar buffered: how they flow when there are none.
    """

    def __init__(self) -> None:
        self.pipes = Pipes()
        self.buffered = BufferedFlows()

    def between(self, source: socket.socket, sink: socket.socket) -> SplicedFlow:
        """See L{egress.relay.buffered.Flows.between}."""
        return SplicedFlow(self, source, sink)

    def close(self) -> None:
        """See L{egress.relay.buffered.Flows.close}."""
        self.pipes.close()
        self.buffered.close()


def can_splice() -> bool:
    """Whether this Python and this system splice sockets: some that look like Linux do not."""
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
    """The best flows that this system has."""
    return SplicedFlows() if can_splice() else BufferedFlows()
