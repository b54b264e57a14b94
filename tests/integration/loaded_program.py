"""The program of L{tests.integration.loaded}: an interpreter that has loaded the proxy, and forks one per request.

It runs as a script, without C{tests}: what that imports does not belong into a proxy.  Requests come from standard
input, and each line of JSON has a response of one line:

  - C{{"start": [arguments, directory, log, environment]}}: the id of a new process, which runs C{twistd};
  - C{{"status": pid}}: of one that has ended, the exit status, negative for a signal, and the CPU time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from importlib import import_module
from typing import Any

# What twistd imports for a proxy before it listens.  The reactor is installed after the fork, by twistd.
MODULES = (
    *("egress.service", "egress.tap", "egress.workers.service"),
    *("twisted.application.app", "twisted.application.reactors", "twisted.internet.epollreactor"),
    *("twisted.internet.unix", "twisted.plugin", "twisted.scripts._twistd_unix", "twisted.scripts.twistd"),
)


def load() -> None:
    """Import the modules of a proxy."""
    # As in "python -c": the working directory comes first, and not the directory of this file.
    sys.path[0] = ""
    for name in MODULES:
        import_module(name)
    # A reactor or a thread would not survive the fork.
    if "twisted.internet.reactor" in sys.modules or threading.active_count() != 1:
        raise SystemExit("an import has installed a reactor, or started a thread")


def serve() -> list[str]:
    """Answer requests until the input ends.

    @return: in the child: the arguments of C{twistd}.
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
                return become(*value)
        print(json.dumps(answer), flush=True)
    raise SystemExit


def ended(pid: int) -> tuple[int, float]:
    """Return the exit status and the CPU time of a child and its children."""
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def become(arguments: list[str], directory: str, log: str, environment: dict[str, str]) -> list[str]:
    """Make this process like one of a new interpreter: its input and output, directory and environment.

    @return: the arguments.
    """
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(output, number)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    # What has been read from the pipe of the parent belongs to the parent.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return arguments


def main() -> None:
    """Load, serve, and in a child: run C{twistd}."""
    load()
    print(json.dumps("loaded"), flush=True)
    sys.argv[:] = ["-c", *serve()]
    run: Any = import_module("twisted.scripts.twistd").run
    run()


if __name__ == "__main__":
    main()
