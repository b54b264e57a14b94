"""One measurement: start a proxy, warm it up, load it, sample it, and stop it."""

# ruff: noqa: S603 -- it starts programs of the benchmark and of the system, some by name

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.names import address_of
from benchmarks.native import Load, LoadFailed, Told
from benchmarks.origins import Counts, Origins, OriginsError, free_port, read_url, wait_for_port
from benchmarks.peers import Peer, PeerFailed, Setup, Started
from benchmarks.protocol_loads import GrpcLoad, H2Load, MessageOrigin, message_origin
from benchmarks.scenarios import Scenario, Traffic

_TICK = os.sysconf("SC_CLK_TCK")
_SETTLE = 1.0
_IDLE_STEP = 50


class Void(Exception):
    """The reason why a measurement is void."""


# -- processes


@dataclass(frozen=True)
class Stat:
    """The relevant values of C{/proc/N/stat}.

    @ivar ticks: the CPU time of the process and of its reaped children.
    """

    pid: int
    parent: int
    session: int
    ticks: int


def parse_stat(text: str) -> Stat:
    """Read C{/proc/N/stat}.  The second field is a name in parentheses that may have anything in it."""
    before, _, after = text.rpartition(")")
    fields = after.split()
    return Stat(int(before.split(" ", 1)[0]), int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])))


def parse_pss(text: str) -> int:
    """Read the proportional set size, in KiB, from C{/proc/N/smaps_rollup}."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def tree_of(root: int, stats: Sequence[Stat]) -> list[Stat]:
    """Return the processes of the session of C{root}, and all their descendants."""
    found = {stat.pid: stat for stat in stats if stat.pid == root or stat.session == root}
    while more := {stat.pid: stat for stat in stats if stat.parent in found and stat.pid not in found}:
        found |= more
    return list(found.values())


def _all_stats() -> Iterator[Stat]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield parse_stat((entry / "stat").read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue  # the process has ended


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process tree."""
    return sum(stat.ticks for stat in tree_of(root, list(_all_stats()))) / _TICK


def memory_kib(root: int) -> int:
    """Return the memory of a process tree; shared memory counts once."""
    total = 0
    for stat in tree_of(root, list(_all_stats())):
        try:
            total += parse_pss(Path(f"/proc/{stat.pid}/smaps_rollup").read_text(encoding="utf-8"))
        except OSError:
            continue
    return total


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Run the programs of this block on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Cores:
    """The assignment of cores.  A single core is shared by all programs; rates are not meaningful then."""

    all: tuple[int, ...]

    def for_proxy(self, spread: int) -> tuple[int, ...]:
        """The cores of the proxy: the first one, or the first few if there are twice as many."""
        return self.all[: spread if len(self.all) >= 2 * spread else 1]

    @property
    def others(self) -> tuple[int, ...]:
        """The cores of everything except the proxy."""
        return self.all[2 if len(self.all) >= 4 else 1 :] or self.all


# -- one measurement


@dataclass(frozen=True)
class Measurement:
    """The figures of one run.

    @ivar units: the number of requests, or of connections with one request each.
    @ivar cpu_seconds: the CPU time of the proxy in the measured part.
    @ivar load_cpu_seconds: the CPU time of the load generator.
    @ivar memory_kib: the memory after the load; in a scenario of idle connections, the memory of one connection.
    @ivar origin_connections: the number of connections that the proxy opened in the measured part.
    @ivar direct_p50_us: the median latency of the same traffic without a proxy, if it was measured.
    """

    units: int
    seconds: float
    bytes: int
    denied: int
    errors: int
    wrong: int
    p50_us: float
    p99_us: float
    cpu_seconds: float
    load_cpu_seconds: float
    memory_kib: float
    origin_connections: int
    direct_p50_us: float = 0.0

    def as_json(self) -> dict[str, float]:
        """Return the members of the results."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """The common parts of all measurements of a run."""

    directory: Path
    native: Path
    origins: Origins
    cores: Cores


def check(traffic: Traffic, told: Told, *, asked_origin: int, asked_authorizer: int | None) -> None:
    """Check the counters of a measurement.

    @param asked_origin: the number of requests at the origins.
    @param asked_authorizer: the number of authorization requests; C{None} without an authorizer.
    @raise Void: if the proxy did not do its work, so that its cost is not meaningful.
    """
    units, denied, errors = told.units, told.denied, told.errors
    if told.wrong:
        raise Void(f"{told.wrong} of {units} responses are wrong: {told.first_error}")
    if errors > units / 1000:
        raise Void(f"{errors} errors in {units} units: {told.first_error}")
    if not units:
        raise Void(f"nothing finished within {traffic.seconds} s")
    # A client whose connection closes with a denial sends one more request, so the number is not exact.
    if traffic.denied_every and abs(denied - units / traffic.denied_every) > 1 + units / traffic.denied_every / 20:
        raise Void(f"{denied} of {units} requests were denied instead of every {traffic.denied_every}th")
    allowed = units - denied
    if abs(asked_origin - allowed) > errors:
        raise Void(f"the origin received {asked_origin} requests instead of {allowed}")
    if asked_authorizer is not None and asked_authorizer < units:
        raise Void(f"only {asked_authorizer} authorization requests for {units} requests")


@dataclass(frozen=True)
class _Seen:
    cpu: float
    origin: Counts
    authorizer: int


class _Counters:
    """The counters before and after the measured part."""

    def __init__(self, origins: Origins | MessageOrigin, authorizer: int | None) -> None:
        self.origins = origins
        self.authorizer = authorizer
        self.seen: list[_Seen] = []

    def look(self, root: int) -> None:
        """Read all counters, the CPU time first, because later work would count at the end."""
        cpu = cpu_seconds(root)
        authorizer = int(read_url(f"http://127.0.0.1:{self.authorizer}/count")) if self.authorizer else 0
        self.seen.append(_Seen(cpu, self.origins.counts(), authorizer))


class Run:
    """A proxy process of one measurement."""

    def __init__(self, bench: Bench, scenario: Scenario, peer: Peer, options: Mapping[str, str]) -> None:
        self.bench = bench
        self.scenario = scenario
        self.peer = peer
        self.options = options

    def measure(self, directory: Path) -> Measurement:
        """Do it.

        @param directory: an empty directory for the proxy.
        @raise Void: if the proxy fails, or its figures are not meaningful.
        """
        try:
            with self._authorizer() as authorizer:
                return self._measure(directory, authorizer)
        except (PeerFailed, LoadFailed, OriginsError) as error:
            raise Void(str(error)) from error

    def _measure(self, directory: Path, authorizer: int | None) -> Measurement:
        url = f"http://127.0.0.1:{authorizer}" if authorizer else None
        with self._started(directory, url, self.scenario.intercept) as (load, started):
            root = started.process.pid
            found = self._idle(load, root) if self.scenario.idle else self._by_protocol(load, root, authorizer)
            if started.process.poll() is not None:
                raise Void(f"it exited under load with status {started.process.returncode}")
            return found

    def mixes_up(self, directory: Path) -> str | None:
        """Check that a client with several hosts over one connection gets no responses of wrong hosts.

        @return: the error, or C{None}.
        """
        try:
            with self._started(directory, None, False) as (load, _):
                told = load.run(Traffic("forward", 400, connections=4, hosts=8))
        except (PeerFailed, LoadFailed) as error:
            return f"fails with several hosts: {error}"
        return f"mixes up origins: {told.first_error}" if told.wrong else None

    @contextmanager
    def _started(self, directory: Path, authz_url: str | None, intercept: bool) -> Iterator[tuple[Load, Started]]:
        """Run the proxy on its own cores, with its load generator."""
        bench = self.bench
        setup = Setup(
            directory=directory,
            port=free_port(),
            origin_ca=bench.origins.ca,
            authz_url=authz_url,
            native=bench.native,
            options={**self.scenario.options, **self.options},
        )
        with pinned(bench.cores.for_proxy(self.scenario.spread)):
            started = self.peer.start(setup, intercept)
        try:
            origins = bench.origins
            yield Load(bench.native, setup.port, plain=origins.plain, tls=origins.tls, ca=started.ca), started
        finally:
            started.stop()

    def _by_protocol(self, load: Load, root: int, authorizer: int | None) -> Measurement:
        origins = self.bench.origins
        if self.scenario.load == "h2load":
            port = origins.http2 if self.scenario.origin_http2 else origins.tls
            return self._loaded(H2Load(load.proxy, port), root, authorizer, origins)
        if self.scenario.load == "grpc":
            with message_origin(origins.ca.parent) as target:
                return self._loaded(GrpcLoad(load.proxy, target, load.ca), root, authorizer, target)
        found = self._loaded(load, root, authorizer, origins)
        return replace(found, direct_p50_us=self._direct()) if self.scenario.figure == "added" else found

    def _direct(self) -> float:
        """Return the median latency without a proxy, which is part of the latency with one."""
        traffic, origins = replace(self.scenario.traffic, via="direct"), self.bench.origins
        address = address_of(traffic.first_host)
        load = Load(self.bench.native, origins.tls, origins.plain, origins.tls, origins.ca, address)
        result = load.run(traffic)
        if result.errors or result.wrong:
            raise Void(f"without a proxy: {result.first_error}")
        return result.p50_us

    def _loaded(
        self, load: Load | H2Load | GrpcLoad, root: int, authorizer: int | None, origins: Origins | MessageOrigin
    ) -> Measurement:
        traffic = self.scenario.traffic
        before = traffic.warm_up()
        if before is not None:
            warm = load.run(before)
            if warm.errors or warm.wrong:
                raise Void(f"the warm-up fails: {warm.first_error}")
        asked = _Counters(origins, authorizer)
        told = load.run(traffic, at_start=lambda: asked.look(root), at_end=lambda: asked.look(root))
        before_it, after_it = asked.seen
        check(
            traffic,
            told,
            asked_origin=after_it.origin.requests - before_it.origin.requests,
            asked_authorizer=after_it.authorizer - before_it.authorizer if authorizer else None,
        )
        return Measurement(
            units=told.units,
            seconds=told.seconds,
            bytes=told.bytes,
            denied=told.denied,
            errors=told.errors,
            wrong=told.wrong,
            p50_us=told.p50_us,
            p99_us=told.p99_us,
            cpu_seconds=after_it.cpu - before_it.cpu,
            load_cpu_seconds=told.cpu_seconds,
            memory_kib=memory_kib(root),
            origin_connections=after_it.origin.connections - before_it.origin.connections,
        )

    def _idle(self, load: Load, root: int) -> Measurement:
        traffic = self.scenario.traffic
        with load.held(traffic, _IDLE_STEP):
            time.sleep(_SETTLE)
        time.sleep(_SETTLE)
        before = memory_kib(root)
        with ExitStack() as held:
            # Not all simultaneously: with a short listen queue, clients would wait for many seconds.
            for _ in range(0, traffic.connections, _IDLE_STEP):
                held.enter_context(load.held(traffic, _IDLE_STEP))
            time.sleep(_SETTLE)
            after = memory_kib(root)
        count = traffic.connections
        return Measurement(
            units=count,
            seconds=0.0,
            bytes=0,
            denied=0,
            errors=0,
            wrong=0,
            p50_us=0.0,
            p99_us=0.0,
            cpu_seconds=0.0,
            load_cpu_seconds=0.0,
            memory_kib=(after - before) / count,
            origin_connections=count,
        )

    @contextmanager
    def _authorizer(self) -> Iterator[int | None]:
        if not self.scenario.authorizer:
            yield None
            return
        port = free_port()
        command = [
            str(self.bench.native / "authorizer"),
            "--port",
            str(port),
            "--delay-ms",
            str(self.scenario.delay_ms),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port, process, "the authorizer")
            yield port
        finally:
            process.terminate()
            process.wait()
