"""Proxies and commands that start in forks of an interpreter that has loaded them.

Imports take four fifths of the CPU time of a start, and the tests start more than a thousand proxies and commands.
Each process that runs tests has one such interpreter for C{twistd}, and one for C{egress}.  A fork has the arguments,
the environment, the working directory, the input and the output of a program of its own, and runs the same from there.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import durations
from tests.integration.processes import HERE, ROOT, environment

# Of a command line: python -c PROGRAM OPTIONS, or python -m egress OPTIONS.
_OPTIONS = 3
# What an interpreter and its libraries read before they run a program: a fork would come too late.
_READ_BEFORE = ("GLIBC_", "LANG", "LC_", "LD_", "MALLOC_", "OPENSSL_", "PYTHON")
_replacing = threading.Lock()
_programs: dict[str, LoadedProgram] = {}


class LoadedProgram:
    """The interpreter (L{tests.integration.loaded_program}).

    @param name: of the program: C{twistd} or C{egress}.
    """

    def __init__(self, name: str) -> None:
        # Some tests start proxies in several threads.
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "loaded_program.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(PYTHONPATH=str(ROOT)),
            text=True,
        )
        if self._response() != "loaded":
            raise AssertionError(f"the interpreter did not load {name}")
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it takes no more requests."""
        return self._process.poll() is not None

    def ask(self, **request: object) -> Any:
        """Send a request, and return the response."""
        assert self._process.stdin is not None
        with self._lock:
            # Without a reader, there is no response either.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
            return self._response()

    def _response(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the interpreter that forks programs ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it; its forks go on."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def loaded_program(name: str = "twistd") -> LoadedProgram:
    """Return the interpreter of this process: another one if the previous one has ended.

    @param name: of the program.
    """
    with _replacing:
        found = _programs.get(name)
        if found is None or found.has_ended:
            found = _programs[name] = LoadedProgram(name)
        return found


def can_fork(environ: Mapping[str, str]) -> bool:
    """Return whether a fork can behave like a new interpreter with these variables.

    @param environ: the variables, without those that each program of this project has.
    """
    return not any(name.startswith(_READ_BEFORE) for name in environ)


class Fork:
    """A process that runs a program in a fork (L{tests.integration.processes.Running}).

    @param args: the command line that does the same with a new interpreter: C{python -c PROGRAM} and the arguments.
    @param output: the file for standard output.
    @param program: C{twistd} or C{egress}.
    @param stdin: the file for standard input.
    @param errors: the file for standard error, by default that for standard output.
    @param workers: how many of the workers that it starts are forks, too; the others are new interpreters.
    @param first: Python code that it and these workers run before the program.
    """

    def __init__(
        self,
        args: Sequence[str],
        directory: Path,
        output: Path,
        env: Mapping[str, str],
        *,
        program: str = "twistd",
        stdin: Path = Path(os.devnull),
        errors: Path | None = None,
        workers: int = 0,
        first: str = "",
    ) -> None:
        self.args = list(args)
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._program = loaded_program(program)
        options = self.args[_OPTIONS:]
        files = [str(file.resolve()) for file in (stdin, output, errors or output)]
        self.pid: int = self._program.ask(start=[options, str(directory.resolve()), files, dict(env), workers, first])
        # It is readable once the process has ended, and names no other process after that.
        self._descriptor = os.pidfd_open(self.pid)
        weakref.finalize(self, os.close, self._descriptor)

    def poll(self) -> int | None:
        """Return the exit status; C{None} while it runs."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status."""
        status = self._status(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def _status(self, seconds: float | None) -> int | None:
        """Wait for the end.

        @return: the exit status; C{None} if it runs for longer.
        """
        if self.returncode is not None:
            return self.returncode
        ended = select.poll()
        ended.register(self._descriptor, select.POLLIN)
        if not ended.poll(None if seconds is None else 1000 * seconds):
            return None
        with self._lock:
            if self.returncode is None:
                self.returncode, cpu = self._program.ask(status=self.pid)
                durations.add_program(cpu)
            return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, sig)

    def terminate(self) -> None:
        """Send C{SIGTERM}."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send C{SIGKILL}."""
        self.send_signal(signal.SIGKILL)
