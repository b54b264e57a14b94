"""The common parts of all peers: their description, and the start and stop of their processes."""

# ruff: noqa: S603 -- it starts proxies of the system, by full path

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.certificates import TestCA, key_pem_of

FORWARD = "forward"
FORWARD_AUTHZ = "forward+authz"
TUNNEL = "tunnel"
INTERCEPT = "intercept"
INTERCEPT_AUTHZ = "intercept+authz"
# Intercepted HTTP/2 on either side, with a local rule or an authorization service.
HTTP2 = "http2"
EVERYTHING = frozenset({FORWARD, FORWARD_AUTHZ, TUNNEL, INTERCEPT, INTERCEPT_AUTHZ})

# The directory of these modules and of the programs of the peers.
HERE = Path(__file__).parent

# With Valgrind, and with other programs on all cores, a start takes a minute.
_START_DEADLINE = 120.0
_STOP_DEADLINE = 5.0
_LAST_LINES = 15


class PeerFailed(Exception):
    """A proxy does not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Setup:
    """The setup of a proxy.

    @ivar directory: an existing, empty directory.
    @ivar port: the port on 127.0.0.1.
    @ivar origin_ca: the CA of the origins, as PEM.
    @ivar authz_url: the URL of the authorization service (C{/validate}); with C{None}, a local rule decides.
    @ivar native: the directory with the compiled programs.
    @ivar options: the options of special runs.
    """

    directory: Path
    port: int
    origin_ca: Path
    authz_url: str | None
    native: Path
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Started:
    """A running proxy.

    @ivar process: the leader of its session, and the root of the process tree.
    @ivar ca: the CA that clients must trust inside its tunnels.
    """

    process: subprocess.Popen[bytes]
    ca: Path | None = None

    def stop(self) -> None:
        """Stop the whole process tree: first with SIGTERM, then with SIGKILL."""
        # Helpers can have their own sessions, and lose their parent when the root exits.  List them before that.
        tree = _tree_of(self.process.pid)
        _signal(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            tree |= _tree_of(self.process.pid)
        for pid in tree:
            _signal(pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + _STOP_DEADLINE
        while any(_is_alive(pid) for pid in tree) and time.monotonic() < deadline:
            time.sleep(0.01)


class Peer(Protocol):
    """A proxy to compare.

    @ivar name: the name, as its authors write it.
    @ivar can: the kinds of its scenarios.
    """

    name: str
    can: frozenset[str]

    def missing(self) -> str | None:
        """Return the missing packages in one line, or C{None}."""

    def version(self) -> str:
        """Return the version that C{start} starts."""

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start the proxy, and return when it accepts connections.

        @param intercept: whether every CONNECT is intercepted; otherwise, every CONNECT is an opaque tunnel.
        @raise PeerFailed: if it does not accept connections.
        """


# -- processes


def launch(
    setup: Setup,
    command: Sequence[str | Path],
    *,
    ca: Path | None = None,
    environment: Mapping[str, str] | None = None,
    logs: Sequence[Path] = (),
) -> Started:
    """Start a proxy and wait until it accepts connections.

    @param environment: additional variables.
    @param logs: its log files, in addition to standard output and standard error.
    """
    output = setup.directory / "output.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=setup.directory,
            env={**_without_proxies(os.environ), **(environment or {})},
            start_new_session=True,
        )
    started = Started(process, ca)
    why = "does not listen"
    deadline = time.monotonic() + _START_DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            why = f"ended with status {process.returncode}"
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", setup.port)) == 0:
                return started
        time.sleep(0.02)
    started.stop()
    raise PeerFailed(f"{command[0]} {why}:\n{_last_lines([output, *logs])}")


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    deadline: float = 300,
) -> str:
    """Run a command to its end.

    @param deadline: its timeout, in seconds.
    @return: its output.
    @raise PeerFailed: if it fails.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            check=False,
            timeout=deadline,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerFailed(f"{command[0]}: {error}") from error
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise PeerFailed(f"{command[0]} ended with status {done.returncode}:\n{text[-2000:]}")
    return text


def find_program(name: str, variable: str | None = None) -> Path | None:
    """Return the path of a program.

    @param variable: an environment variable that can contain its path.
    """
    # On Debian, the path of a normal user does not contain the directory of some programs.
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    named = os.environ.get(variable) if variable else None
    found = shutil.which(named or name, path=path)
    return Path(found) if found else None


def how_to_install(package: str, name: str, variable: str) -> str:
    """Tell how to install a program from a Python package into a separate environment.

    @param variable: the environment variable that can contain its path.
    """
    return (
        f"python -m venv DIR && DIR/bin/pip install {package}, then have DIR/bin in PATH or {variable}=DIR/bin/{name}"
    )


def needed(name: str, variable: str | None = None) -> Path:
    """Return the path of a required program."""
    found = find_program(name, variable)
    if found is None:
        raise PeerFailed(f"{name} is not installed")
    return found


def version_in(text: str, pattern: str = r"\d+(?:\.\d+)+") -> str:
    """Return the version in the output of a program."""
    found = re.search(pattern, text)
    return found[0] if found else "of unknown version"


def compiled(source: Path, program: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> Path:
    """Compile a program of the benchmark, unless it is newer than its source.

    @param command: the compiler command, without C{-o}, the program and the source.
    """
    if not program.exists() or program.stat().st_mtime <= source.stat().st_mtime:
        # A running program cannot be overwritten, but it can be replaced.
        fresh = program.with_suffix(".new")
        run([*command, "-o", fresh, source], environment)
        fresh.replace(program)
    return program


# -- certificates


@dataclass(frozen=True)
class Authority:
    """A CA for clients of a proxy, ECDSA P-256.

    @ivar key: PKCS #8.
    """

    certificate: Path
    key: Path

    def combined(self) -> Path:
        """Write key and certificate to one file."""
        path = self.certificate.with_name("ca-combined.pem")
        path.touch(0o600)
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path


def new_authority(directory: Path) -> Authority:
    """Make a CA in C{ca.pem} and C{ca-key.pem}."""
    made = TestCA("Benchmark proxy")
    key = directory / "ca-key.pem"
    key.touch(0o600)
    key.write_bytes(key_pem_of(made.key))
    return Authority(made.write(directory), key)


# -- internals


def _without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    # These variables would redirect the requests of a proxy.
    return {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}


def _last_lines(logs: Sequence[Path]) -> str:
    lines: list[str] = []
    for log in logs:
        if log.exists():
            lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join(lines)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has exited
        os.kill(pid, number)


def _stat(pid: int) -> list[str] | None:
    # The fields after the name, because the name can contain any character.
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] != "Z"


def _tree_of(root: int) -> set[int]:
    """Return all descendants of a process, and the other processes of its session."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            stats[int(entry.name)] = (int(fields[1]), int(fields[3]))
    found = {root} | {pid for pid, (_, session) in stats.items() if session == root}
    while more := {pid for pid, (parent, _) in stats.items() if parent in found} - found:
        found |= more
    return found & stats.keys()
