"""A test case with its own proxy, run as a user runs it: C{twistd -n egressproxy}."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.loaded import Fork, can_fork
from tests.integration.peers import Origins, origins
from tests.integration.processes import HERE, ROOT, Process, environment, free_port, node_module, program

DENY_ALL = 'version = 1\n[[rules]]\nid = "closed"\naction = "deny"\nreason = "closed for today"\n'
DENY_CLOSED = """
version = 1
[[rules]]
id = "closed"
action = "deny"
reason = "this path is closed"
paths = ["/closed/**"]
[[rules]]
action = "allow"
"""
ALLOW_ALL = 'version = 1\n[[rules]]\naction = "allow"\n'
TWISTD = "from twisted.scripts.twistd import run; run()"
# twistd ends itself with the signal that it received, before coverage could write its data.
COVERED = """
import coverage
from twisted.application import app
leave = app._exitWithSignal
app._exitWithSignal = lambda number: (coverage.Coverage.current().save(), leave(number))
"""

# Commands of egress that run in a new interpreter: they show the build, and start programs.
NEW_PROCESS = ("--version", "run")

# For tests of a single process: the last of several values has precedence.
ONE_PROCESS = ("--workers", "1")

# With two workers, the probability that all these connections reach the same one is 2 ** -31.
ENOUGH_FOR_BOTH = 32


def plugin(name: str, *options: str, reactor: str = "") -> list[str]:
    """Return the command line of a plugin of this project, run by this interpreter.

    @param reactor: the name of its reactor; by default the best one.
    """
    program = COVERED + TWISTD if _covered() else TWISTD
    reactors = [f"--reactor={reactor}"] if reactor else []
    return [sys.executable, "-c", program, "-n", "--pidfile=", *reactors, name, *options]


def _covered() -> bool:
    return "COVERAGE_PROCESS_CONFIG" in os.environ


def twistd(*options: str, reactor: str = "") -> list[str]:
    """Return the command line of a proxy.

    With C{EGRESS_TEST_WORKERS=2} it has two worker processes, so that all tests can run with and without workers.

    @param reactor: the name of its reactor; by default the best one.
    """
    workers = ["--workers", os.environ["EGRESS_TEST_WORKERS"]] if os.environ.get("EGRESS_TEST_WORKERS") else []
    return plugin("egressproxy", *workers, *options, reactor=reactor)


def proxy_environment(**extra: str) -> dict[str, str]:
    """Return the environment of a proxy, in which it finds the project whether or not it is installed."""
    return environment(**{"PYTHONPATH": str(ROOT), **extra})


def start_of(env: Mapping[str, str], arguments: Sequence[str] = (), first: str = "") -> Callable[..., Fork] | None:
    """Return how a program of this project starts: in a fork if possible, otherwise in a new interpreter.

    @param env: the variables that are special to it.
    @param arguments: the command line of a proxy, whose first workers are forks, too.
    @param first: Python code that they run before the program.
    """
    # Coverage begins with the interpreter.
    if _covered() or not can_fork(env):
        return None
    return partial(Fork, workers=workers_of(arguments), first=first)


def workers_of(arguments: Sequence[str]) -> int:
    """Return how many workers a proxy with these arguments has; none, if it is a single process."""
    numbers = [int(value) for option, value in itertools.pairwise(arguments) if option == "--workers"]
    return numbers[-1] if numbers and numbers[-1] > 1 else 0


def run_egress(
    *arguments: str, directory: Path | None = None, stdin: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run C{egress}.

    @param directory: its working directory.
    """
    command = [sys.executable, "-m", "egress", *arguments]
    environ = proxy_environment(**env)
    if arguments[0] not in NEW_PROCESS and start_of(env) is not None:
        return run_in_fork(command, directory or Path.cwd(), environ, stdin or "")
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=directory,
        env=environ,
        check=False,
    )


def run_in_fork(
    command: Sequence[str],
    directory: Path,
    environ: Mapping[str, str],
    stdin: str = "",
    seconds: float = 60,
    *,
    name: str = "egress",
) -> subprocess.CompletedProcess[str]:
    """Run C{egress} in a fork of an interpreter that has loaded it (L{tests.integration.loaded}).

    @param seconds: the time that it may take.
    @param name: of the program: C{egress} or C{twistd}.
    """
    with tempfile.TemporaryDirectory() as files:
        given, output, errors = (Path(files, name) for name in ("stdin", "stdout", "stderr"))
        given.write_text(stdin)
        fork = Fork(command, directory, output, environ, program=name, stdin=given, errors=errors)
        try:
            status = fork.wait(seconds)
        finally:
            fork.kill()
        return subprocess.CompletedProcess(list(command), status, output.read_text(), errors.read_text())


def sitecustomize(directory: Path, program: str) -> str:
    """Make each Python process run a program before anything else.

    @param directory: the directory to write it to.
    @return: the C{PYTHONPATH} with which it is found.
    """
    (directory / "sitecustomize.py").write_text(program, "utf-8")
    return os.pathsep.join([str(directory), str(ROOT)])


def children(pid: int) -> list[int]:
    """Return the running child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tcp_addresses(arguments: Sequence[str]) -> list[tuple[str, int]]:
    """Return the TCP addresses on which a proxy with these arguments listens."""
    found = []
    for option, value in itertools.pairwise(arguments):
        endpoint = re.search(r"\b(?:tcp6?|ssl):(\d+)", value)
        if option in ("--listen", "--admin") and endpoint is not None:
            interface = re.search(r":interface=((?:\\.|[^:\\])*)", value)
            host = "" if interface is None else interface[1].replace("\\:", ":")
            found.append(({"::": "::1"}.get(host, host or "127.0.0.1"), int(endpoint[1])))
        elif option == "--metrics-port":
            found.append(("127.0.0.1", int(value)))
    return found


class Proxy:
    """A running proxy, by default in a fork of an interpreter that has loaded it (L{tests.integration.loaded}).

    @param reactor: the name of its reactor; by default the best one.
    @param first: Python code that each of its processes runs before the program; a fork has loaded all modules before.
    @param forked: whether it may be a fork; otherwise it is a new interpreter.
    @param forks_workers: whether its first workers may be forks, too.
    @ivar url: the value for C{http_proxy}.
    @ivar ca: the CA certificate, for its clients.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        reactor: str = "",
        first: str = "",
        forked: bool = True,
        forks_workers: bool = True,
        **env: str,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        self.ca = directory / "ca" / "ca.pem"
        self.audit = directory / "audit.jsonl"
        arguments = twistd(
            "--listen",
            f"tcp:{self.port}:interface=127.0.0.1",
            "--ca-dir",
            str(directory / "ca"),
            "--audit-log",
            str(self.audit),
            *options,
            reactor=reactor,
        )
        start = start_of(env, arguments if forks_workers else (), first) if forked else None
        if first and (start is None or workers_of(arguments)):
            # For new interpreters, also those of workers that are restarted.
            env["PYTHONPATH"] = sitecustomize(directory, first)
        self.process = Process(arguments, directory, "egressproxy", proxy_environment(**env), start=start)
        # One of the ports can accept connections before another one is bound.
        for host, port in tcp_addresses(arguments):
            self.process.wait_for_port(port, host)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.popen.pid

    @property
    def workers(self) -> list[int]:
        """The worker processes, if there are any."""
        return children(self.pid)

    @property
    def pids(self) -> list[int]:
        """The process ids of the proxy and its workers."""
        return [self.pid, *self.workers]

    def memory(self, name: str) -> int:
        """Return C{VmRSS} or C{VmHWM} from C{/proc}, summed over all processes, in bytes."""
        found = 0
        for pid in self.pids:
            match = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            assert match is not None
            found += 1024 * int(match[1])
        return found

    def records(self) -> list[dict[str, Any]]:
        """Return the records of exchanges in the audit log."""
        return [each for each in self.lines() if each["stage"] != "admin"]

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the audit log."""
        if not self.audit.exists():
            return []
        # While it is written, a part of the last line can be visible.
        lines = self.audit.read_text("utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


class IntegrationTestCase(SynchronousTestCase):
    """Base: origins, and the proxies that a test starts.

    @cvar forked: whether proxies may be forks; not where the start, the memory or the build itself is tested.
    @cvar forks_workers: whether their workers may be forks; not where the start of workers is tested.
    """

    forked = True
    forks_workers = True
    origins: Origins

    def setUp(self) -> None:
        self.origins = origins()
        self.directory = Path(tempfile.mkdtemp(prefix="egress-test-"))
        # This cleanup runs last: programs that still write into the directory are stopped before.
        self.addCleanup(shutil.rmtree, self.directory, True)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the test's directory."""
        path = self.directory / name
        path.write_text(text, "utf-8")
        return path

    def start_proxy(self, *options: str, local: bool = True, **env: str) -> Proxy:
        """Start a proxy that may contact the local origins, and trusts them.

        @param local: whether loopback addresses are allowed, which no real proxy would do.
        """
        opened = ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128"] if local else []
        proxy = Proxy(
            Path(tempfile.mkdtemp(dir=self.directory)),
            "--ssl-extra-ca-certs",
            str(self.origins.ca),
            *opened,
            *options,
            forked=self.forked,
            forks_workers=self.forks_workers,
            **env,
        )
        self.addCleanup(self.stop_cleanly, proxy.process)
        return proxy

    def stop_cleanly(self, process: Process) -> None:
        """Stop a program of this project."""
        process.stop()
        # No behaviour of clients and origins may cause an exception in the log.
        self.assertNotIn("Traceback", process.output())

    def wait_until(self, is_true: Callable[[], object], what: str = "", seconds: float = 30.0) -> None:
        """Wait until a condition is true.

        @param what: the description of the condition.
        """
        deadline = time.monotonic() + seconds
        while not is_true():
            self.assertLess(time.monotonic(), deadline, f"waited in vain: {what}")
            time.sleep(0.02)

    def records(self, proxy: Proxy, number: int) -> list[dict[str, Any]]:
        """Return the audit log once it has this many records: a record is written just after the response."""
        deadline = time.monotonic() + 20
        while len(records := proxy.records()) < number and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(len(records), number)
        return records

    def allow_all(self) -> list[str]:
        """Return the options of a proxy whose embedded policy allows everything."""
        return ["--policy", str(self.write("allow.toml", ALLOW_ALL))]

    def start_authz_service(self, *denied: str) -> tuple[str, Path]:
        """Start the sample authorization service.

        @param denied: the methods that it denies.
        @return: its URL, and the file with the authorization requests that it received.
        """
        node_module("express")
        port = free_port()
        record = self.directory / f"questions-{port}.jsonl"
        record.touch()
        arguments = [program("node"), str(HERE / "authz_service.js"), str(port), str(record), *denied]
        service = Process(arguments, self.directory, f"authz-{port}")
        self.addCleanup(service.stop)
        service.wait_for_port(port)
        return f"http://127.0.0.1:{port}", record

    def run_program(self, *arguments: str, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a client until it ends."""
        return subprocess.run(
            [program(arguments[0]), *arguments[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=self.directory,
            env=environment(**env),
            check=False,
        )

    def curl(self, proxy: Proxy, *arguments: str, seconds: int = 30) -> subprocess.CompletedProcess[str]:
        """Run curl through a proxy, for a limited time."""
        options = ("-sS", "--max-time", str(seconds), "--noproxy", "", "-x", proxy.url, "--cacert", str(proxy.ca))
        return self.run_program("curl", *options, *arguments, timeout=seconds + 90)

    def fetch(self, proxy: Proxy, url: str, *arguments: str) -> tuple[int, str]:
        """Fetch a URL with curl.

        @return: the status code and the body.
        """
        done = self.curl(proxy, "-w", "\n%{http_code}", *arguments, url)
        self.assertEqual(done.returncode, 0, done.stderr)
        content, _, status = done.stdout.rpartition("\n")
        return int(status), content

    def assert_problem(self, proxy: Proxy, url: str, status: int, stage: str, *arguments: str) -> dict[str, Any]:
        """Fetch a URL, and check that the response is a problem document of the proxy.

        @return: its members.
        """
        found, content = self.fetch(proxy, url, *arguments)
        problem: dict[str, Any] = json.loads(content)
        self.assertEqual((found, problem["status"], problem["stage"]), (status, status, stage), content)
        self.assertTrue(problem["reason"])
        self.assertTrue(problem["decisionId"])
        return problem
