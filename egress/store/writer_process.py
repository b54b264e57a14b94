"""The process of a proxy that writes its audit store: how the proxy starts it, and what it knows of it.

The process has no descriptor of the proxy but its end of a socket pair, and no variable of a proxy option.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final, Protocol

from egress.runtime.child_environment import child_environment
from egress.store.writer_ipc import IGNORED

PROGRAM: Final = "egress.store.writer_program"

_KILLED_WITHIN: Final = 5.0
# As much as the system permits, so that many records leave the proxy before the process has started.
_BUFFER: Final = 1024 * 1024


class WriterProcess(Protocol):
    """A process that runs L{egress.store.writer_program}."""

    @property
    def line(self) -> socket.socket:
        """The proxy's end of the socket pair, which does not block."""

    @property
    def errors(self) -> int:
        """The descriptor of a pipe with the standard error of the process, which the user of this object closes."""

    @property
    def pid(self) -> int:
        """The id of the process."""

    def ended(self) -> str | None:
        """Return how the process has ended; C{None} if it runs."""

    def kill(self) -> None:
        """Kill the process, and wait for its end."""

    def wait(self, seconds: float) -> None:
        """Wait for its end, and kill it after a time."""


class ChildProcess:
    """A child of this process; see L{WriterProcess}.

    @raise OSError: if it cannot be started.
    """

    def __init__(self) -> None:
        self.line, other = socket.socketpair()
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self.errors, output = os.pipe()
        # A process inherits the mask, so that none of these signals ends it before it ignores them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
        try:
            # Twisted reaps only the processes that it has started.
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - the arguments are constants
                [sys.executable, "-m", PROGRAM, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                pass_fds=(other.fileno(),),
                # With -m, Python also looks for modules in the working directory.
                cwd="/",
                env=child_environment(os.environ, sys.path),
            )
        except BaseException:
            self.line.close()
            os.close(self.errors)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            other.close()
            os.close(output)
        self.line.setblocking(False)
        os.set_blocking(self.errors, False)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ended(self) -> str | None:
        """Return how it has ended; see L{WriterProcess.ended}."""
        status = self._process.poll()
        if status is None:
            return None
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"

    def kill(self) -> None:
        """Kill it; see L{WriterProcess.kill}."""
        self.line.close()
        self._process.kill()
        # Even this signal does not end a process that waits for a disk.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_WITHIN)

    def wait(self, seconds: float) -> None:
        """Wait for its end; see L{WriterProcess.wait}."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
