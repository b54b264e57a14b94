"""Processes that end in time, together with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from egress.doctor.runtime_judgement import Attempt

# The end of the output has the error.
_MAX_OUTPUT: Final = 256 * 1024


class Processes:
    """The processes of a diagnosis.  Each has its own process group, which is killed after it.

    Its methods may be called in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._stopped = False

    def attempt(self, command: Sequence[str], environ: Mapping[str, str], directory: Path, seconds: float) -> Attempt:
        """Run a command to its end.

        @param command: the command; the first element is the path of the program.
        @param environ: its whole environment.
        @param directory: its working directory.
        @param seconds: the time after which it is killed.
        @raise OSError: if it cannot be started.
        """
        began = time.monotonic()
        # A file, because a child that outlives the command would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            process = self._start(command, environ, directory, output.fileno())
            try:
                status: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                self._end(process)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - _MAX_OUTPUT))
            text = output.read(_MAX_OUTPUT).decode("utf-8", "replace")
        return Attempt(command=command, status=status, output=text, seconds=time.monotonic() - began)

    def _start(
        self, command: Sequence[str], environ: Mapping[str, str], directory: Path, output: int
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise OSError("the diagnosis was stopped")
            process = subprocess.Popen(  # noqa: S603 -- the commands are those of the table of runtimes
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                cwd=directory,
                start_new_session=True,
            )
            self._groups.add(process.pid)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        # The group may outlive its leader, whose id is not used again while the group exists.
        kill_group(process.pid)
        process.wait()
        with self._lock:
            self._groups.discard(process.pid)

    def stop(self) -> None:
        """Kill all processes, and start no others."""
        with self._lock:
            self._stopped = True
            for group in self._groups:
                kill_group(group)


def kill_group(group: int) -> None:
    """Kill all processes of a group, if there are any."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
