"""The C programs of the benchmark: compiles outdated programs, and runs the load generator."""

# ruff: noqa: S603, S607 -- it starts programs of the benchmark and of the system, some by name

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from benchmarks.scenarios import Traffic

SOURCES = Path(__file__).parent / "native"
BUILD = Path(__file__).parent / ".build"

# The programs and their libraries.
PROGRAMS: dict[str, tuple[str, ...]] = {"load": ("-lssl", "-lcrypto"), "authorizer": (), "relay": (), "sink": ()}

_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
_GRACE = 60  # additional seconds of a load, for the warm-up
_HEADER = "openssl/ssl.h"


class CompileError(Exception):
    """A program cannot be compiled."""


class LoadFailed(Exception):
    """The load generator failed."""


def missing() -> list[str]:
    """Return the missing packages for the compilation, one line each."""
    if shutil.which("gcc") is None:
        return ["gcc with libc's and OpenSSL's headers: apt-get install gcc libc6-dev libssl-dev"]
    found = subprocess.run(
        ["gcc", "-E", "-include", _HEADER, "-x", "c", "/dev/null"], capture_output=True, check=False, timeout=60
    )
    return ["OpenSSL's headers: apt-get install libssl-dev"] if found.returncode else []


def make_build_directory(build: Path) -> Path:
    """Make the directory for generated files, which git ignores."""
    build.mkdir(parents=True, exist_ok=True)
    (build / ".gitignore").write_text("*\n", encoding="utf-8")
    return build


def compile_all(sources: Path = SOURCES, build: Path = BUILD) -> Path:
    """Compile outdated programs.

    @return: the directory with the programs.
    """
    make_build_directory(build)
    headers = [path.stat().st_mtime for path in sources.glob("*.h")]
    for name, libraries in PROGRAMS.items():
        source, program = sources / f"{name}.c", build / name
        if program.exists() and program.stat().st_mtime > max([source.stat().st_mtime, *headers]):
            continue
        # A running program cannot be overwritten, but it can be replaced.
        fresh = build / f"{name}.new"
        done = subprocess.run(
            ["gcc", *_FLAGS, "-o", str(fresh), str(source), *libraries],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise CompileError(f"{source.name} does not compile:\n{done.stderr}")
        fresh.replace(program)
    return build


@dataclass(frozen=True)
class Told:
    """The result of the load generator."""

    units: int
    denied: int
    errors: int
    wrong: int
    first_error: str
    seconds: float
    bytes: int
    p50_us: float
    p99_us: float
    cpu_seconds: float

    @staticmethod
    def parse(line: str) -> Told:
        """Read its line of JSON."""
        try:
            said = json.loads(line)
            return Told(**{field.name: said[field.name] for field in fields(Told)})
        except (ValueError, KeyError, TypeError) as error:
            raise LoadFailed(f"the load generator printed {line!r}") from error


@dataclass(frozen=True)
class Load:
    """The load generator in front of one proxy.

    @ivar proxy: the port of the proxy.
    @ivar plain: the port of the origins for plain HTTP.
    @ivar tls: the port of the origins for HTTPS.
    @ivar ca: the CA that clients of the proxy trust inside its tunnels.
    @ivar address: the address of the proxy; without a proxy, C{address} and C{proxy} are those of the origin.
    """

    native: Path
    proxy: int
    plain: int
    tls: int
    ca: Path | None
    address: str = "127.0.0.1"

    def run(
        self,
        traffic: Traffic,
        *,
        at_start: Callable[[], object] | None = None,
        at_end: Callable[[], object] = lambda: None,
    ) -> Told:
        """Send the load.

        @param at_start: called between the warm-up and the measured part.
        @param at_end: called immediately after the measured part.
        """
        with self._process(traffic, ["--gate"] if at_start else []) as process:
            if at_start:
                self._expect(process, "measuring")
                at_start()
                process.tell()
            line = process.line()
            at_end()
            return Told.parse(line)

    @contextmanager
    def held(self, traffic: Traffic, connections: int) -> Iterator[None]:
        """Hold a number of connections, which have carried one request each, idle during the block."""
        with self._process(replace(traffic, connections=connections, units=connections), ["--idle"]) as process:
            self._expect(process, "idle")
            yield
            process.end_input()
            told = Told.parse(process.line())
            if told.errors or told.wrong or told.units != connections:
                raise LoadFailed(f"{told.units} of {connections} connections: {told.first_error}")

    def _expect(self, process: _Process, word: str) -> None:
        line = process.line()
        if line.startswith("{"):
            raise LoadFailed(f"the warm-up fails: {Told.parse(line).first_error}")
        if line.strip() != word:
            raise LoadFailed(f"the load generator printed {line.strip()!r} instead of {word!r}")

    @contextmanager
    def _process(self, traffic: Traffic, more: Sequence[str]) -> Iterator[_Process]:
        command = [str(self.native / "load"), "--proxy", f"{self.address}:{self.proxy}", *traffic.arguments(), *more]
        if traffic.tls:
            if self.ca is None:
                raise LoadFailed("the proxy has no CA for its clients")
            command += ["--tls", "--ca", str(self.ca)]
        command += ["--port", str(self.tls if traffic.tls else self.plain)]
        process = _Process(command, traffic.seconds + _GRACE)
        try:
            yield process
        finally:
            process.close()


class _Process:
    """The program, which is killed after a timeout."""

    def __init__(self, command: Sequence[str], deadline: float) -> None:
        # A file accepts any amount of output; a pipe that is not read would block the program.
        self.complaints = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaints, text=True
        )
        self.timer = threading.Timer(deadline, self.process.kill)
        self.timer.start()

    def line(self) -> str:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.complaints.seek(0)
            raise LoadFailed(f"the load generator ended with status {status}: {self.complaints.read()[-500:].strip()}")
        return line

    def tell(self) -> None:
        """Let it continue."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Let it exit."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def close(self) -> None:
        """Kill it if it does not exit."""
        assert self.process.stdout is not None
        self.end_input()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.timer.cancel()
        self.process.stdout.close()
        self.complaints.close()
