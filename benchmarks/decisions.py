"""The cost of authorization, by authorizer and decision: C{python -m benchmarks.decisions}.

The figure is the CPU time of the proxy for one request.  All proxies run from the beginning to the end, and alternate
within each round, so that other load of the machine affects all of them.  The results are the medians, and the ratios
to the plain case: plain HTTP over keep-alive connections, with ten rules.  No proxy has an audit log.

Every round checks every case: the responses, and the counters of the proxy and of the authorization service.
"""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import native, origins
from benchmarks.in_process import table
from benchmarks.measure import Cores, pinned
from benchmarks.origins import free_port, read_url
from benchmarks.peers import Setup, Started
from benchmarks.peers.base import launch
from benchmarks.rules import policy_text
from egress.authz.protocols.validate import encode_request
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage

TREE = Path(__file__).resolve().parents[1]
HOST = "localhost"
TOKEN = "benchmark"  # noqa: S105 - what the origin is to see
KIND = "ping"

_CONNECTIONS = 16
_CONTENT = 1024
# The work of a proxy after its responses, such as shadow decisions, is part of their cost.
_SETTLE = 0.1
_REUSED = '"ttl": 3600'

_FORWARDED = 'egress_decisions_total{outcome="forwarded",verdict="allow"}'
_HITS = 'egress_authorizer_cache_lookups_total{result="hit"}'
_SAME = 'egress_shadow_decisions_total{result="same"}'
_OBSERVED = 'egress_observed_total{verdict="deny"}'
_ANSWERED = 'egressauthz_requests_total{verdict="allow"}'


class Unproven(Exception):
    """A case did not do its work, so its cost is not meaningful."""


# -- the cases


def rules(count: int, last: str) -> str:
    """Return a policy with a number of rules, whose last rule matches the requests of the benchmark."""
    text = f'{policy_text(count - 1)}\n[[rules]]\nname = "last"\nhosts = ["{HOST}"]\n{last}\n'
    # The former name, for older source trees.
    return text.replace("\nname = ", "\nid = ")


_ALLOW = 'action = "allow"\npaths = ["/token/**"]'
_TEN = rules(10, _ALLOW)
_ON_CONTENT = rules(10, f'{_ALLOW}\njson = {{ "kind" = "{KIND}" }}')
_WITH_TOKEN = rules(10, f'{_ALLOW}\nset_headers = {{ X-Token = "${{secret:token}}" }}')
_BOUNDED = rules(10, f'{_ALLOW}\nmax_bytes = {_CONTENT}\nexpires_in = "1h"')
_DENIED = rules(10, 'action = "deny"\nreason = "benchmark"')


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
    """

    title: str
    policy: str | None = _TEN
    shadow: str | None = None
    service: str | None = None
    asked: bool = True
    counted: str = _FORWARDED
    options: tuple[str, ...] = ()
    sends: int = 0
    sees: str = ""
    bounded: bool = False
    is_service: bool = False

    def request(self, port: int, size: int | None = None) -> bytes:
        """Return one request, with C{size} bytes of content if given."""
        size = self.sends if size is None else size
        url = f"http://{HOST}:{port}/token/7?x=1"
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


PLAIN = Case("10 rules (plain case)")
CASES: tuple[Case, ...] = (
    PLAIN,
    Case("10,000 rules", rules(10_000, _ALLOW)),
    Case("10 rules; the request has 1 KiB of content", sends=_CONTENT),
    Case("the same, with a rule that matches content (`json`)", _ON_CONTENT, sends=_CONTENT),
    Case("10 rules, and a shadow policy of 10 rules", shadow=_TEN, counted=_SAME),
    Case("10 rules, and a shadow service", service="", counted=_SAME),
    Case("observe mode: 10 rules, denied", _DENIED, counted=_OBSERVED, options=("--mode", "observe")),
    Case("10 rules; a field is set to a secret (`set_headers`)", _WITH_TOKEN, sees=TOKEN),
    Case("10 rules; limits (`max_bytes`, `expires_in`)", _BOUNDED, bounded=True),
    Case("authorization service, one authorization request for each request", None, service=""),
    Case("authorization service, cached decisions (`ttl`)", None, service=_REUSED, asked=False, counted=_HITS),
    Case("`egressauthz` with 10 rules, for one authorization request", counted=_ANSWERED, is_service=True),
)


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
class _Service:
    """An authorization service."""

    port: int

    def count(self) -> int:
        return int(read_url(f"http://127.0.0.1:{self.port}/count"))


@contextmanager
def _service(programs: Path, more: str) -> Iterator[_Service]:
    port = free_port()
    command = [str(programs / "authorizer"), "--port", str(port)]
    process = subprocess.Popen([*command, *(["--more", more] if more else [])], stdout=subprocess.DEVNULL)
    try:
        origins.wait_for_port(port, process, "the authorization service")
        yield _Service(port)
    finally:
        process.terminate()
        process.wait()


class Client:
    """A number of keep-alive connections, each with one request in progress at a time."""

    def __init__(self, port: int, connections: int = _CONNECTIONS) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(connections)]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes, answer: bytes, times: int) -> int:
        """Send a request at least this number of times.

        @param answer: the beginning of the content of each response.
        @return: the number of requests.
        @raise Unproven: for another response.
        """
        done = 0
        while done < times:
            for one in self._sockets:
                one.sendall(request)
            for one in self._sockets:
                status, content = receive(one.recv)
                if status != 200 or not content.startswith(answer):
                    raise Unproven(f"the response is {status}: {content[:200]!r}")
            done += len(self._sockets)
        return done

    def status(self, request: bytes) -> int:
        """Send one request, and return the status of the response."""
        self._sockets[0].sendall(request)
        return receive(self._sockets[0].recv)[0]

    def close(self) -> None:
        """Close the connections."""
        for one in self._sockets:
            one.close()


def receive(recv: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Read one response with a length, and return its status and its content."""
    data = b""
    end, length = -1, 0
    while end < 0 or len(data) < end + length:
        more = recv(65536)
        if not more:
            raise Unproven(f"the connection ends after {data[-200:]!r}")
        data += more
        if end < 0 and (at := data.find(b"\r\n\r\n")) >= 0:
            end = at + 4
            for line in data[:at].split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
    return int(data[9:12]), data[end:]


@dataclass
class Contestant:
    """A running case.

    @ivar cpu: the CPU time of a request in microseconds, for each round.
    """

    case: Case
    name: str
    started: Started
    port: int
    metrics: int
    origin: int
    service: _Service | None
    client: Client = field(init=False)
    cpu: list[float] = field(default_factory=list)

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
        before, asked = self._numbers(), self.service.count() if self.service else 0
        pid = self.started.process.pid
        request, answer = self.case.request(self.origin), self.case.answer
        begin = cpu_seconds(pid)
        done = self.client.ask(request, answer, requests)
        time.sleep(_SETTLE)
        self.cpu.append((cpu_seconds(pid) - begin) / done * 1e6)
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
        self.client = Client(self.port)
        self.client.ask(self.case.request(self.origin), self.case.answer, requests)
        if self.case.bounded:
            # Over a separate connection, because the proxy may close it.
            once = Client(self.port, 1)
            status = once.status(self.case.request(self.origin, 2 * _CONTENT))
            once.close()
            if status != 403:
                raise Unproven(f"{2 * _CONTENT} bytes passed where {_CONTENT} are allowed")

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
    plain: int
    ca: Path
    cores: Cores

    @contextmanager
    def contestant(self, case: Case, name: str, tree: Path) -> Iterator[Contestant]:
        """Run a case during the block.

        @param tree: the source tree of its proxy.
        """
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        metrics = free_port()
        setup = Setup(directory, free_port(), self.ca, None, self.programs)
        with ExitStack() as stack:
            service = None
            if case.service is not None:
                service = stack.enter_context(_service(self.programs, case.service))
            command = [sys.executable, "-m", "twisted", "egressauthz" if case.is_service else "egressproxy"]
            command += ["--listen", f"tcp:{setup.port}:interface=127.0.0.1", "--metrics-port", str(metrics)]
            command += [*case.options, *_files(case, directory)]
            if not case.is_service:
                command += ["--ca-dir", str(directory / "ca")]
                command += ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128"]
            if service is not None:
                command += ["--shadow-authz-url" if case.policy else "--authz-url", f"http://127.0.0.1:{service.port}"]
            with pinned(self.cores.for_proxy(1)):
                started = launch(setup, command, environment={"PYTHONPATH": str(tree)})
            stack.callback(started.stop)
            yield Contestant(case, name, started, setup.port, metrics, self.plain, service)


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


# -- the table


def lines(found: Sequence[tuple[str, Sequence[float]]]) -> Iterator[str]:
    """Return the table: medians, and the ratios to the first case in the same round.

    @param found: each case with the microseconds of each round.
    """
    yield "| Authorizer | CPU, µs/request | Relative to the plain case | Range over the rounds |"
    yield "| --- | ---: | ---: | ---: |"
    plain = found[0][1]
    for name, figures in found:
        ratios = [figure / beside for figure, beside in zip(figures, plain, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        yield f"| {name} | {statistics.median(figures):.0f} | {statistics.median(ratios):.2f} | {spread} |"


def run(options: argparse.Namespace, directory: Path) -> None:
    """Measure, and print the table."""
    cores = Cores(tuple(sorted(os.sched_getaffinity(0))))
    programs = native.compile_all()
    (directory / "origins").mkdir()
    running = origins.running(directory / "origins", programs, as_root=os.geteuid() == 0, files=4096)
    with pinned(cores.others), running as served, ExitStack() as stack:
        bench = Bench(directory, programs, served.plain, served.ca, cores)
        entered = [(case, case.title, TREE) for case in CASES]
        if options.against:
            other = options.against.resolve()
            entered[1:] = [(PLAIN, f"the same of {other}", other)] + (entered[1:] if not options.plain else [])
        elif options.plain:
            del entered[1:]
        contestants = [stack.enter_context(bench.contestant(*one)) for one in entered]
        for one in contestants:
            one.warm_up(options.requests // 2)
        for number in range(options.rounds):
            # Alternate the direction, so that no case always runs first.
            for one in contestants if number % 2 else reversed(contestants):
                one.measure(options.requests)
        print("\n".join(lines([(one.name, one.cpu) for one in contestants])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=1000, metavar="N", help="requests of each case in a round (1000)"
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="(7)")
    parser.add_argument("--quick", action="store_true", help="see whether everything runs; the figures mean little")
    parser.add_argument("--plain", action="store_true", help="only the plain case")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="also measure the plain case of another source tree"
    )
    options = parser.parse_args(arguments)
    missing = [*native.missing(), *origins.missing()]
    if missing:
        print(*(f"missing: {line}" for line in missing), sep="\n", file=sys.stderr)
        return 2
    if options.quick:
        options.rounds, options.requests = 1, 64
    with tempfile.TemporaryDirectory(prefix="egressproxy-decisions-") as scratch:
        Path(scratch).chmod(0o755)
        try:
            run(options, Path(scratch))
        except Unproven as error:
            print(error, file=sys.stderr)
            return 1
    if not options.plain:
        print()
        print("\n".join(table(400 if options.quick else 4000)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
