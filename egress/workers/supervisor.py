"""The slot of one worker in the supervisor: starts the process, and restarts it when it exits."""

from __future__ import annotations

import enum
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.model.errors import WorkerFailed
from egress.runtime.child_environment import child_environment
from egress.runtime.lines import Lines
from egress.workers.ipc import (
    ABORT,
    CONTROL,
    DRAIN,
    FAILED,
    FIRST_LISTENER,
    NOTICE,
    READY,
    RELOAD,
    SERVE,
    SHARED,
    Channel,
    ChannelLost,
    WorkerSpec,
    adopt,
    receive_frame,
    send_spec,
)
from egress.workers.output import WorkerLog

_log = Logger()

PROGRAM: Final = "egress.workers.worker"

# Restart delays: the first restart is immediate; repeated failures back off exponentially.
_FIRST_RESTART: Final = 0.1
_FIRST_DELAY: Final = 1.0
_LAST_DELAY: Final = 30.0
# A worker that lived this long resets the backoff.
_STABLE_AFTER: Final = 60.0
_READY_WITHIN: Final = 60.0
# The specification is small: it fits into the socket buffer before the worker reads.
_SENT_WITHIN: Final = 5.0
# Time from the closing of the channel to the end of the process.
_END_WITHIN: Final = 5.0

SocketPair = Callable[[], tuple[socket.socket, socket.socket]]


class State(enum.Enum):
    """The state of a worker slot.

    @cvar EMPTY: no worker was started yet.
    @cvar STARTING: a worker was started, and is not ready yet.
    @cvar RUNNING: the worker accepts connections.
    @cvar WAITING: the worker has ended, and the next one starts after a delay.
    @cvar STOPPING: the worker drains or is killed.
    @cvar CLOSED: no further worker is started.
    """

    EMPTY = "empty"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    CLOSED = "closed"


_STEPS: Final = {
    State.EMPTY: {State.STARTING, State.CLOSED},
    State.STARTING: {State.RUNNING, State.WAITING, State.STOPPING},
    State.RUNNING: {State.WAITING, State.STOPPING},
    State.WAITING: {State.STARTING, State.CLOSED},
    State.STOPPING: {State.CLOSED},
    State.CLOSED: frozenset[State](),
}


class _Watch(ProcessProtocol):
    """Reports the output and the end of a process."""

    def __init__(self, out: Lines, err: Lines, ended: Callable[[str], None]) -> None:
        self._out = out
        self._err = err
        self._ended = ended

    def outReceived(self, data: bytes) -> None:
        self._out.feed(data)

    def errReceived(self, data: bytes) -> None:
        self._err.feed(data)

    def processEnded(self, reason: Failure) -> None:
        self._out.end()
        self._err.end()
        self._ended(_how(reason.value))


def _how(error: Any) -> str:
    if error.signal is not None:
        return f"was killed by {signal.Signals(error.signal).name}"
    return f"exited with status {error.exitCode}"


class WorkerSlot:
    """The slot of one worker: at most one process at a time, restarted when it ends.

    @param spec: the configuration with which each worker of the slot starts.
    @param descriptors: its listening sockets.
    @param wrote: is called with each line that a worker writes to standard output; C{None} for an incomplete last line
        of a worker that died.
    @param left: is called when a worker has ended.
    @param restarted: is called when another worker is started.
    @param serves: is called when a worker is about to serve, and accepts requests.
    @param noticed: is called with each notice of a worker (L{egress.notify.notice}), as text.
    @param learned: is called with what a worker learns from other replicas, or tells them, as text.
    """

    def __init__(
        self,
        reactor: Any,
        spec: WorkerSpec,
        descriptors: Sequence[int],
        *,
        wrote: Callable[[bytes | None], None],
        left: Callable[[], None],
        restarted: Callable[[], None],
        socketpair: SocketPair = socket.socketpair,
        serves: Callable[[WorkerSlot], None] = lambda _: None,
        noticed: Callable[[str], None] = lambda _: None,
        learned: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._reactor = reactor
        self._spec = spec
        self._descriptors = descriptors
        self._wrote = wrote
        self._left = left
        self._restarted = restarted
        self._socketpair = socketpair
        self._serves = serves
        self._noticed = noticed
        self._learned = learned
        self.name = str(spec.number)
        self.state = State.EMPTY
        self._failures = 0
        self._started = 0.0
        self._process: Any = None
        self._line: socket.socket | None = None
        self._channel: Channel | None = None
        self._timer: IDelayedCall | None = None
        self._log = WorkerLog(self.name)
        self._stopped: Deferred[None] = Deferred()

    def _step(self, state: State) -> None:
        if state not in _STEPS[self.state]:
            raise AssertionError(f"invalid transition from {self.state.value} to {state.value}")
        self.state = state
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # -- starting

    def begin(self) -> None:
        """Start the first worker, without waiting for it.

        @raise OSError: when the process cannot be started.
        """
        self._step(State.STARTING)
        self._spawn()

    def wait_ready(self) -> None:
        """Wait for the first worker, before the reactor runs: later, C{twistd} can no longer report a failed start.

        @raise WorkerFailed: when the worker does not become ready.
        """
        assert self._line is not None
        self._line.settimeout(_READY_WITHIN)
        try:
            message = json.loads(receive_frame(self._line))
        except ChannelLost as error:
            self._read_stderr_tail()
            raise WorkerFailed(f"worker {self.name} exited before it was ready: {self._log.last or error}") from error
        except OSError as error:
            raise WorkerFailed(f"worker {self.name} is not ready after {_READY_WITHIN:g} seconds") from error
        if message["notification"] != READY:
            raise WorkerFailed(message["text"])
        self._adopt()

    def serve(self) -> None:
        """Tell a worker that is ready to accept connections."""
        assert self._channel is not None
        self._step(State.RUNNING)
        # The worker receives messages in this order.
        self._serves(self)
        self._channel.send(SERVE)
        _log.info("worker {number} started as process {pid}", number=self.name, pid=self._process.pid)

    def _read_stderr_tail(self) -> None:
        # A long traceback takes several reads; its last line has the error.
        for _ in range(8):
            self._process.pipes[2].doRead()

    def _restart(self) -> None:
        self._step(State.STARTING)
        self._spec = attrs.evolve(self._spec, is_replacement=True)
        self._restarted()
        try:
            self._spawn()
        except OSError as error:
            self._ended(f"cannot be started: {error.strerror}")
            return
        self._adopt()
        self._timer = self._reactor.callLater(_READY_WITHIN, self.kill)

    def _spawn(self) -> None:
        self._log.last = ""
        self._started = self._reactor.seconds()
        parent_end, worker_end = self._socketpair()
        self._line = parent_end
        out = Lines(self._wrote, lambda: self._wrote(None))
        watch = _Watch(out, Lines(self._log.write, lambda: None), self._ended)
        descriptors = {0: "w", 1: "r", 2: "r", CONTROL: worker_end.fileno()}
        descriptors.update({FIRST_LISTENER + index: number for index, number in enumerate(self._descriptors)})
        try:
            self._process = self._reactor.spawnProcess(
                watch,
                sys.executable,
                [sys.executable, "-m", PROGRAM],
                env=child_environment(os.environ, sys.path),
                # With -m, Python also looks for modules in the working directory.
                path="/",
                childFDs=descriptors,
            )
        finally:
            worker_end.close()
        self._process.closeStdin()
        parent_end.settimeout(_SENT_WITHIN)
        try:
            send_spec(parent_end, self._spec)
        except OSError:
            # The worker has already ended; if not, end it now.
            self.kill()

    def _adopt(self) -> None:
        assert self._line is not None
        self._channel = Channel(self._notified, self._channel_lost)
        adopt(self._reactor, self._line, self._channel)
        self._line = None

    # -- running

    def request(self, what: str, seconds: float, argument: Any = None) -> Deferred[Any]:
        """Send a request to the worker; fails when it does not respond in time."""
        assert self._channel is not None
        return self._channel.request(what, argument).addTimeout(seconds, self._reactor)

    def _notified(self, word: str, text: str) -> None:
        if word == READY and self.state is State.STARTING:
            self.serve()
        elif word == FAILED:
            self._log.last = text
        elif word == NOTICE:
            self._noticed(text)
        elif word == SHARED:
            self._learned(text)

    def _channel_lost(self) -> None:
        # The worker is about to end, or it closed the channel and can no longer be notified.
        process = self._process
        self._reactor.callLater(_END_WITHIN, lambda: _kill(process))

    def _ended(self, how: str) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        self._process = self._channel = None
        self._left()
        if self.state is State.CLOSED:
            return
        if self.state is State.STOPPING:
            self._close()
            return
        if self._reactor.seconds() - self._started >= _STABLE_AFTER:
            self._failures = 0
        delay = min(_FIRST_DELAY * 2 ** (self._failures - 1), _LAST_DELAY) if self._failures else _FIRST_RESTART
        self._failures += 1
        _log.error(
            "worker {number} {how}{said}; restarting in {delay:g} seconds",
            number=self.name,
            how=how,
            said=f" ({self._log.last})" if self._log.last and self.state is State.STARTING else "",
            delay=delay,
        )
        self._step(State.WAITING)
        self._timer = self._reactor.callLater(delay, self._restart)

    def reload(self) -> None:
        """Have the worker reload the files of the configuration; one that is starting may have read them already."""
        if self._channel is not None:
            self._channel.send(RELOAD)

    # -- stopping

    def stop(self, patience: float) -> Deferred[None]:
        """Have the worker drain, and close the slot.

        @param patience: seconds after which the worker is killed.
        @return: fires when it has ended, or even killing it has no effect.
        """
        if self.state in (State.EMPTY, State.WAITING):
            self._step(State.CLOSED)
            return succeed(None)
        self._step(State.STOPPING)
        if self._channel is not None:
            self._channel.send(DRAIN)
        self._timer = self._reactor.callLater(patience, self._overdue)
        return self._stopped

    def abort(self) -> None:
        """Have the worker cut its exchanges, while it drains."""
        if self._channel is not None:
            self._channel.send(ABORT)

    def _overdue(self) -> None:
        _log.error("worker {number} did not exit in time, killing it", number=self.name)
        self.kill()
        self._timer = self._reactor.callLater(_END_WITHIN, self._close)

    def _close(self) -> None:
        self._step(State.CLOSED)
        self._stopped.callback(None)

    def kill(self) -> None:
        """Kill the worker in any state."""
        _kill(self._process)


def _kill(process: Any) -> None:
    if process is not None:
        with suppress(ProcessExitedAlready):
            process.signalProcess("KILL")
