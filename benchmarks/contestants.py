"""Proxies that alternate in one benchmark: how each is started, given requests, and checked."""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks import native, origins
from benchmarks.keep_alive import CONNECTIONS, HOST, Client, Unproven
from benchmarks.measure import Cores, pinned
from benchmarks.origins import Origins, free_port, read_url
from benchmarks.peers import Setup, Started
from benchmarks.peers.base import launch
from benchmarks.rules import policy_text
from egress.authz.protocols.validate import encode_request
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage

TREE = Path(__file__).resolve().parents[1]
TWIST = (sys.executable, "-m", "twisted")
KIND = "ping"
CONTENT = 1024

# The work of a proxy after its responses, such as shadow decisions, is part of their cost.
_SETTLE = 0.1
# CPython specializes code that runs often.
_WARM_UP = 64

_FORWARDED = 'egress_decisions_total{outcome="forwarded",verdict="allow"}'


# -- the cases


def rules(count: int, last: str) -> str:
    """Return a policy with a number of rules, whose last rule matches the requests of the benchmark."""
    text = f'{policy_text(count - 1)}\n[[rules]]\nname = "last"\nhosts = ["{HOST}"]\n{last}\n'
    # The former name, for older source trees.
    return text.replace("\nname = ", "\nid = ")


ALLOW = 'action = "allow"\npaths = ["/token/**"]'
TEN = rules(10, ALLOW)


@dataclass(frozen=True)
class Case:
    """One line of the table.

    @ivar policy: the embedded policy; without it, an authorization service decides.
    @ivar shadow: a shadow policy.
    @ivar service: further members of the responses of an authorization service; the service decides, or is the shadow
        of a policy.
    @ivar asked: whether the service gets an authorization request for each request; otherwise for no request.
    @ivar counted: the counter of the proxy that each request increments.
    @ivar sends: the bytes of content in a request.
    @ivar sees: the token that the origin must receive.
    @ivar bounded: whether the proxy must reject twice the content.
    @ivar is_service: whether this is C{egressauthz} and not a proxy.
    @ivar intercepted: whether the requests are HTTPS, in tunnels that the proxy intercepts.
    @ivar settle: the seconds after the last response in which the proxy finishes its work.
    """

    title: str
    policy: str | None = TEN
    shadow: str | None = None
    service: str | None = None
    asked: bool = True
    counted: str = _FORWARDED
    options: tuple[str, ...] = ()
    sends: int = 0
    sees: str = ""
    bounded: bool = False
    is_service: bool = False
    intercepted: bool = False
    settle: float = _SETTLE

    def request(self, port: int, size: int | None = None) -> bytes:
        """Return one request, with C{size} bytes of content if given."""
        size = self.sends if size is None else size
        url = "/token/7?x=1" if self.intercepted else f"http://{HOST}:{port}/token/7?x=1"
        if self.is_service:
            origin = Origin.of("http", Authority(HOST, port))
            client = ClientIdentity("127.0.0.1", 40000)
            fields = ((b"Host", f"{HOST}:{port}".encode()), (b"Accept", b"*/*"), (b"User-Agent", b"benchmark"))
            content = encode_request(
                DecisionRequest("id", Stage.REQUEST, "GET", origin, "/token/7?x=1", fields, client)
            )
            line, more = "POST /validate", "Content-Type: application/json"
        else:
            content = json.dumps({"kind": KIND, "text": ""}).encode() if size else b""
            content = content[:-2] + b"x" * (size - len(content)) + content[-2:]
            line, more = f"{'POST' if size else 'GET'} {url}", "User-Agent: benchmark\r\nContent-Type: application/json"
        head = f"{line} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\n{more}\r\n"
        length = f"Content-Length: {len(content)}\r\n" if content else ""
        return f"{head}{length}\r\n".encode("ascii") + content

    @property
    def answer(self) -> bytes:
        """The content of the response, or its beginning."""
        return b'{"allowed":true' if self.is_service else f"<{self.sees}>".encode("ascii")


# -- the programs


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process.

    C{/proc} counts in hundredths of a second; this is the CPU clock of the process (C{clock_getcpuclockid(3)}).
    """
    return time.clock_gettime(~pid << 3 | 2)


def metrics_in(text: str) -> dict[str, float]:
    """Read the text of C{/metrics}."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


@dataclass
class Service:
    """An authorization service."""

    port: int

    def count(self) -> int:
        return int(read_url(f"http://127.0.0.1:{self.port}/count"))


@contextmanager
def authorization_service(programs: Path, more: str, delay: int = 0) -> Iterator[Service]:
    """Run an authorization service, which allows each request, during the block.

    @param more: further members of its responses.
    @param delay: the time of each call, in milliseconds.
    """
    port = free_port()
    command = [str(programs / "authorizer"), "--port", str(port), "--delay-ms", str(delay)]
    process = subprocess.Popen([*command, *(["--more", more] if more else [])], stdout=subprocess.DEVNULL)
    try:
        origins.wait_for_port(port, process, "the authorization service")
        yield Service(port)
    finally:
        process.terminate()
        process.wait()


class CpuTime:
    """The meter of CPU time, in microseconds.

    @param pid: the process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def start(self) -> None:
        """Begin."""
        self._begin = cpu_seconds(self._pid)

    def stop(self) -> float:
        """Return the CPU time since C{start}."""
        return (cpu_seconds(self._pid) - self._begin) * 1e6


class Meter(Protocol):
    """A meter of the work of a process."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """Return the work since C{start}."""


@dataclass
class Contestant:
    """A running case.

    @ivar figures: the figure of the meter for a request, in each round.
    """

    case: Case
    name: str
    started: Started
    port: int
    metrics: int
    origin: int
    service: Service | None
    ca: Path
    meter: Meter
    connections: int
    client: Client = field(init=False)
    figures: list[float] = field(default_factory=list)

    def measure(self, requests: int) -> None:
        """Send a number of requests, and check that the proxy did the work of the case.

        @raise Unproven: if it did not.
        """
        with self._named():
            self._measure(requests)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (Unproven, OSError) as error:
            raise Unproven(f"{self.name}: {error}") from error

    def _measure(self, requests: int) -> None:
        request, answer = self.case.request(self.origin), self.case.answer
        # Refresh what expired during the turns of others, such as the addresses of the origin.
        self.client.ask(request, answer, 1)
        before, asked = self._numbers(), self.service.count() if self.service else 0
        self.meter.start()
        done = self.client.ask(request, answer, requests)
        time.sleep(self.case.settle)
        self.figures.append(self.meter.stop() / done)
        after = self._numbers()
        counted = {self.case.counted} if self.case.is_service else {self.case.counted, _FORWARDED}
        grown = {name: after.get(name, 0) - before.get(name, 0) for name in counted}
        if self.service:
            grown["authorization requests to the service"] = self.service.count() - asked
        check(grown, done, self.case.asked)

    def warm_up(self, requests: int) -> None:
        """Send the requests of the warm-up."""
        with self._named():
            self._warm_up(requests)

    def _warm_up(self, requests: int) -> None:
        # Not earlier: the proxy closes a connection without requests while other proxies start.
        tunnel_to = self.origin if self.case.intercepted else None
        self.client = Client(self.port, self.connections, tunnel_to, self.ca)
        self.client.ask(self.case.request(self.origin), self.case.answer, requests)
        if self.case.bounded:
            # Over a separate connection, because the proxy may close it.
            once = Client(self.port, 1)
            status = once.status(self.case.request(self.origin, 2 * CONTENT))
            once.close()
            if status != 403:
                raise Unproven(f"{2 * CONTENT} bytes passed where {CONTENT} are allowed")

    def _numbers(self) -> dict[str, float]:
        return metrics_in(read_url(f"http://127.0.0.1:{self.metrics}/metrics"))


def check(grown: Mapping[str, float], done: int, asked: bool) -> None:
    """Compare a counter with its expected value.

    @raise Unproven: if it differs.
    """
    for name, number in grown.items():
        due = 0 if name == "authorization requests to the service" and not asked else done
        if number != due:
            raise Unproven(f"{done} requests, and {name} grew by {number:g}")


@dataclass(frozen=True)
class Bench:
    """The common parts of all cases."""

    directory: Path
    programs: Path
    origins: Origins
    cores: Cores

    @contextmanager
    def contestant(
        self,
        case: Case,
        name: str,
        tree: Path,
        program: Sequence[str] = TWIST,
        meter: Callable[[int], Meter] = CpuTime,
        connections: int = CONNECTIONS,
    ) -> Iterator[Contestant]:
        """Run a case during the block.

        @param tree: the source tree of its proxy.
        @param program: the command that runs a plugin of twist.
        @param meter: makes the meter of a process.
        @param connections: the number of client connections.
        """
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        metrics = free_port()
        setup = Setup(directory, free_port(), self.origins.ca, None, self.programs)
        with ExitStack() as stack:
            service = None
            if case.service is not None:
                service = stack.enter_context(authorization_service(self.programs, case.service))
            command = [*program, "egressauthz" if case.is_service else "egressproxy"]
            command += ["--listen", f"tcp:{setup.port}:interface=127.0.0.1", "--metrics-port", str(metrics)]
            command += [*case.options, *_files(case, directory)]
            if not case.is_service:
                command += ["--ca-dir", str(directory / "ca"), "--ssl-extra-ca-certs", str(self.origins.ca)]
                command += ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128"]
            if service is not None:
                command += ["--shadow-authz-url" if case.policy else "--authz-url", f"http://127.0.0.1:{service.port}"]
            with pinned(self.cores.for_proxy(1)):
                started = launch(setup, command, environment={"PYTHONPATH": str(tree)})
            stack.callback(started.stop)
            origin = self.origins.tls if case.intercepted else self.origins.plain
            ca = directory / "ca" / "ca.pem"
            counter = meter(started.process.pid)
            yield Contestant(case, name, started, setup.port, metrics, origin, service, ca, counter, connections)


def _files(case: Case, directory: Path) -> Iterator[str]:
    for name, text in (("policy", case.policy), ("shadow-policy", case.shadow)):
        if text is not None:
            path = directory / f"{name}.toml"
            path.write_text(text, encoding="utf-8")
            yield from (f"--{name}", str(path))
    if case.sees:
        (directory / "token").touch(0o600)
        (directory / "token").write_text(case.sees, encoding="utf-8")
        secrets = directory / "secrets.toml"
        secrets.write_text(f'[token]\nfile = "token"\nhosts = ["{HOST}"]\nplain_http = true\n', encoding="utf-8")
        yield from ("--secrets", str(secrets))


def alternate(contestants: Sequence[Contestant], rounds: Sequence[int], requests: int) -> None:
    """Measure each contestant in each round."""
    for one in contestants:
        one.warm_up(max(requests // 2, _WARM_UP))
    for number in rounds:
        # Alternate the direction, so that no contestant always runs first.
        for one in contestants if number % 2 else reversed(contestants):
            one.measure(requests)


def rows(contestants: Sequence[tuple[str, Sequence[float]]], digits: int = 2) -> Iterator[str]:
    """Return rows of a table: the median, and the ratio to the first contestant in the same round.

    @param contestants: each with the figure of each round.
    @param digits: the decimals of the ratios.
    """
    first = contestants[0][1]
    for name, figures in contestants:
        ratios = [figure / reference for figure, reference in zip(figures, first, strict=True)]
        spread = f"{min(ratios):.{digits}f} to {max(ratios):.{digits}f}"
        yield f"| {name} | {statistics.median(figures):.0f} | {statistics.median(ratios):.{digits}f} | {spread} |"


def run_command(run: Callable[[Bench], None], missing: Sequence[str] = ()) -> int:
    """Run a benchmark of contestants as a command.

    @param missing: packages that this benchmark also needs, but that are not installed.
    @return: the exit status.
    """
    missing = [*native.missing(), *origins.missing(), *missing]
    if missing:
        print(*(f"missing: {line}" for line in missing), sep="\n", file=sys.stderr)
        return 2
    cores = Cores(tuple(sorted(os.sched_getaffinity(0))))
    programs = native.compile_all()
    with tempfile.TemporaryDirectory(prefix="egressproxy-benchmark-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        (directory / "origins").mkdir()
        running = origins.running(directory / "origins", programs, as_root=os.geteuid() == 0, files=4096)
        try:
            with pinned(cores.others), running as served:
                run(Bench(directory, programs, served, cores))
        except Unproven as error:
            print(error, file=sys.stderr)
            return 1
    return 0
