"""Starting and stopping the programs that the tests use."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.trial.unittest import SkipTest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NODE_MODULES = HERE / "node_modules"
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Find a program, or skip the test that needs it."""
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise SkipTest(f"{name} is not installed; tests/install gets it")
    return found


def node_module(path: str) -> str:
    """Find a file of an npm package, or skip the test that needs it."""
    found = NODE_MODULES / path
    if not found.exists():
        raise SkipTest(f"{path} is not installed; tests/install gets it")
    return str(found)


# Below the ephemeral ports, one of which an outgoing connection could take before the server does.
_PORTS = (10_240, 32_000)
# Processes that run tests concurrently take ports from different shares of that range.
_SHARES = 16
# A program may not listen on them yet.  A share has more than twice as many.
_handed_out: deque[int] = deque(maxlen=500)


@functools.cache
def _claim_share() -> tuple[int, socket.socket | None]:
    """Claim a share of the ports for this process.

    @return: its number, and the socket that holds the claim: a socket name is unique (Linux only).
    """
    for share in range(_SHARES):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0egress-tests-{share}")
        except OSError:
            claim.close()
        else:
            return share, claim
    return os.getpid() % _SHARES, None


# A fork claims its own.
os.register_at_fork(after_in_child=_claim_share.cache_clear)


def ready_checks(port: int) -> dict[str, str]:
    """Return the results of the readiness checks of the proxy with this metrics port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as page:
            content = page.read()
    except urllib.error.HTTPError as error:
        with error:
            content = error.read()
    found: dict[str, str] = json.loads(content)["checks"]
    return found


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port on which no process listens now."""
    share, _ = _claim_share()
    while True:
        port = random.randrange(_PORTS[0] + share, _PORTS[1], _SHARES)
        if port in _handed_out:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            _handed_out.append(port)
            return port


def environment(**extra: str) -> dict[str, str]:
    """Return a small environment: without the proxy, CA and egressproxy options of the caller."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("HOME", "LANG", "TMPDIR", "VIRTUAL_ENV") or name.startswith(("COVERAGE", "COV_"))
    }
    return {**kept, "PATH": SEARCH_PATH, **extra}


def default_handlers() -> None:
    """Make the programs that tests start react to signals, also where nohup or a shell makes this process ignore them.

    A program inherits ignored signals, but not handlers.  So this process installs a handler that does nothing.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def connections_to(port: int) -> int:
    """Return how many TCP connections to a local IPv4 port are established or half-closed by the peer."""
    found = 0
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        # ESTABLISHED and CLOSE_WAIT in <linux/tcp_states.h>.
        found += local.endswith(f":{port:04X}") and state in ("01", "08")
    return found


class Running(Protocol):
    """A child process: the methods of C{subprocess.Popen} that tests use."""

    args: Any
    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """Return the exit status; C{None} while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""

    def terminate(self) -> None:
        """Send C{SIGTERM}."""

    def kill(self) -> None:
        """Send C{SIGKILL}."""


class Process:
    """A program that runs during a test.

    @param pass_fds: the descriptors that it inherits.
    @param start: starts it in another way, from its arguments, directory, log and environment.
    @ivar log: the file with its output.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        start: Callable[[Sequence[str], Path, Path, Mapping[str, str]], Running] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{name}.log"
        self._name = name
        env = dict(env if env is not None else environment())
        with self.log.open("ab") as log:
            self.popen: Running = (
                subprocess.Popen(
                    list(arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    env=env,
                    pass_fds=pass_fds,
                )
                if start is None
                else start(arguments, directory, self.log, env)
            )
        atexit.register(self.stop)

    def output(self) -> str:
        """Return the output so far."""
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, *texts: str, seconds: float = 30.0) -> str:
        """Wait until the output contains texts.

        @param texts: the texts, all of which must occur.
        @return: the output so far.
        """
        deadline = time.monotonic() + seconds
        while missing := [text for text in texts if text not in (output := self.output())]:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._name} has not printed {missing}: {output}")
            if self.popen.poll() is not None and any(text not in self.output() for text in texts):
                raise AssertionError(f"{self._name} ended with {self.popen.returncode}: {self.output()}")
            time.sleep(0.02)
        return output

    def wait_for_port(self, port: int, host: str = "127.0.0.1", seconds: float = 30.0) -> None:
        """Wait until the program listens."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                raise AssertionError(f"{self._name} ended with {self.popen.returncode}: {self.output()}")
            try:
                with socket.create_connection((host, port), timeout=1):
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError(f"{self._name} does not listen on {host}:{port}: {self.output()}")

    def stop(self, seconds: float = 10.0) -> int:
        """Stop the program, and wait for its end.

        @return: the exit status.
        """
        atexit.unregister(self.stop)
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()
