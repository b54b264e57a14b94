"""The program of L{tests.integration.loaded}: an interpreter that has loaded a program, and forks one per request.

The program is C{twistd} with a service of this project, or C{egress}.  This runs as a script, without C{tests}: what
that imports does not belong into a proxy.  Requests come from standard input, and each line of JSON has a response of
one line:

  - C{{"start": [arguments, directory, [input, output, errors], environment, workers, first]}}: the id of a new process;
  - C{{"status": pid}}: of one that has ended, the exit status, negative for a signal, and the CPU time.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

# What each program imports.  The reactor is installed after the fork.
MODULES = {
    "twistd": (
        *("egress.service", "egress.tap", "egress.workers.service", "egress.workers.worker"),
        *("twisted.application.app", "twisted.application.reactors", "twisted.internet.epollreactor"),
        *("twisted.internet.unix", "twisted.plugin", "twisted.scripts._twistd_unix", "twisted.scripts.twistd"),
    ),
    "egress": ("egress.cli.main",),
}
WORKER = "egress.workers.worker"


def load(program: str) -> None:
    """Import the modules of a program."""
    # As in "python -c": the working directory comes first, and not the directory of this file.
    sys.path[0] = ""
    for name in MODULES[program]:
        import_module(name)
    if program == "egress":
        import_module("egress.cli.main").load()
    # A reactor or a thread would not survive the fork.
    if "twisted.internet.reactor" in sys.modules or threading.active_count() != 1:
        raise SystemExit("an import has installed a reactor, or started a thread")


def serve() -> tuple[list[str], int]:
    """Answer requests until the input ends.

    @return: in the child: the arguments of the program, and the number of its workers that are forks.
    """
    # Ctrl-C ends the tests, which then ask for the status of each fork.  A fork receives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    answer: Any
    for line in sys.stdin:
        ((kind, value),) = json.loads(line).items()
        if kind == "status":
            answer = ended(value)
        else:
            answer = os.fork()
            if answer == 0:
                arguments, directory, files, environment, workers, first = value
                open_files(files)
                enter(directory, environment)
                exec(first, {"__name__": "first"})
                return arguments, workers
        print(json.dumps(answer), flush=True)
    raise SystemExit


def ended(pid: int) -> tuple[int, float]:
    """Return the exit status and the CPU time of a child and its children."""
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def open_files(files: list[str]) -> None:
    """Open the standard input, output and errors of this process, and close everything else."""
    for number, file in enumerate(files):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY
        os.dup2(os.open(file, flags, 0o666), number)
    os.closerange(len(files), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    # What has been read from the pipe of the parent belongs to the parent.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115


def enter(directory: str, environment: Mapping[str, str]) -> None:
    """Make this process like one that has just started in a directory, with an environment."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


class Prepared:
    """A child that becomes a worker of this process.

    It is forked before C{twistd} begins: it has the modules, but no reactor and nothing else of its parent.

    @ivar line: to the child, which ends when it closes.
    """

    def __init__(self, others: list[Prepared]) -> None:
        self.line, line = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            for each in (self, *others):
                each.line.close()
            become_worker(line)
        line.close()

    def begin(self, directory: str, environment: Mapping[str, str], descriptors: Mapping[int, int]) -> None:
        """Let it run.

        @param descriptors: those of this process, by the number that they have in the worker.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        message = json.dumps([directory, dict(environment), list(descriptors), limits]).encode()
        with self.line:
            socket.send_fds(self.line, [message], list(descriptors.values()))


def become_worker(line: socket.socket) -> NoReturn:
    """Wait for the parent's message, and run a worker.

    @raise SystemExit: with its status.
    """
    message, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 250)
    if not message:
        # There will be no worker.
        os._exit(0)
    directory, environment, numbers, limits = json.loads(message)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    # Above all numbers that they replace.
    copies = [fcntl.fcntl(each, fcntl.F_DUPFD, max(numbers) + 1) for each in descriptors]
    for number, copy in zip(numbers, copies, strict=True):
        os.dup2(copy, number)
    os.closerange(max(numbers) + 1, limits[0])
    enter(directory, environment)
    # As in "python -m", whose path begins with the working directory.
    given = environment["PYTHONPATH"].split(os.pathsep)
    sys.path[:] = [directory, *given, *(each for each in sys.path[1:] if each not in given)]
    worker = import_module(WORKER)
    sys.argv[:] = [str(worker.__file__)]
    worker.main()
    raise SystemExit


def fork_workers(number: int) -> None:
    """Make the first workers of this process forks; those that it starts later are new interpreters."""
    prepared: list[Prepared] = []
    for _ in range(number):
        prepared.append(Prepared(prepared))
    process: Any = import_module("twisted.internet.process").Process
    fork = process._fork  # noqa: SLF001

    def start(self: Any, *given: Any, fdmap: dict[int, int]) -> None:
        path, _, _, _, arguments, environment = given
        if prepared and arguments[1:] == ["-m", WORKER]:
            self.pid = prepared[0].pid
            prepared.pop(0).begin(path, environment, fdmap)
        else:
            fork(self, *given, fdmap=fdmap)

    process._fork = start  # noqa: SLF001


def main() -> None:
    """Load, serve, and in a child: run the program."""
    program = sys.argv[1]
    load(program)
    print(json.dumps("loaded"), flush=True)
    arguments, workers = serve()
    if program == "twistd":
        fork_workers(workers)
        sys.argv[:] = ["-c", *arguments]
        import_module("twisted.scripts.twistd").run()
    else:
        # As in "python -m egress".
        sys.path[0] = os.getcwd()
        sys.argv[:] = [str(import_module("egress").__path__[0]) + "/__main__.py", *arguments]
        raise SystemExit(import_module("egress.cli.main").main())


if __name__ == "__main__":
    main()
