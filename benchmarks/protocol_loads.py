"""The load generators for HTTP/2 and for gRPC, in front of one proxy, like L{benchmarks.native.Load}."""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.keep_alive import HOST, Unproven
from benchmarks.message_clients import GrpcCalls
from benchmarks.names import address_of, origin_names
from benchmarks.native import LoadFailed, Told
from benchmarks.origins import Counts, free_port, read_url, wait_for_port
from benchmarks.scenarios import Traffic
from tests.integration.connect_forwarder import ConnectForwarder

_TREE: Final = Path(__file__).resolve().parents[1]
_STREAMS: Final = 8
_PATH: Final = "/small/7"
_DEADLINE: Final = 600

_REQUESTS = re.compile(r"^requests: (\d+) total, .* (\d+) succeeded, ", re.MULTILINE)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, ", re.MULTILINE)
_TRAFFIC = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)
_SECONDS = re.compile(r"^finished in ([0-9.]+)(us|ms|s), ", re.MULTILINE)
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def responses_in(said: str) -> int | None:
    """Read the number of good responses from the output of h2load; C{None} if there is none."""
    found, good = _REQUESTS.search(said), _STATUSES.search(said)
    return None if found is None or good is None else min(int(found[2]), int(good[1]))


def missing() -> list[str]:
    """Return the missing packages, one line each."""
    return [] if shutil.which("h2load") else ["h2load: apt-get install nghttp2-client"]


def result_of(said: str, log: str, requests: int, content: int) -> Told:
    """Read the result of h2load.

    @param said: its output.
    @param log: its log, with a line for each request: the start, the status, and the microseconds.
    @param content: the number of bytes in each response.
    @raise LoadFailed: if there is no result.
    """
    done, data, seconds = responses_in(said), _TRAFFIC.search(said), _SECONDS.search(said)
    if done is None or data is None or seconds is None:
        raise LoadFailed(f"h2load says {said[-500:]}")
    latencies = [float(fields[2]) for fields in map(str.split, log.splitlines()) if fields[1] == "200"]
    wrong = int(int(data[1]) != done * content)
    return told(
        done,
        latencies,
        seconds=float(seconds[1]) * _UNITS[seconds[2]],
        received=int(data[1]),
        errors=requests - done,
        wrong=wrong,
        first_error=f"{data[1]} bytes of content in {done} responses" if wrong else said[-200:],
    )


def told(
    units: int,
    latencies: list[float],
    *,
    seconds: float,
    received: int = 0,
    errors: int = 0,
    wrong: int = 0,
    first_error: str = "",
) -> Told:
    """Return the result of a load.

    @param latencies: in microseconds, for each unit.
    """
    ordered = sorted(latencies) or [0.0]
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    return Told(units, 0, errors, wrong, first_error, seconds, received, p50, p99, 0.0)


@dataclass(frozen=True)
class H2Load:
    """h2load: it checks the statuses, and the result is checked for the amount of content.

    @ivar proxy: the port of the proxy.
    @ivar origin: the port of the origin.
    """

    proxy: int
    origin: int

    def run(
        self,
        traffic: Traffic,
        *,
        at_start: Callable[[], object] | None = None,
        at_end: Callable[[], object] = lambda: None,
    ) -> Told:
        """Send the load; see L{benchmarks.native.Load.run}."""
        host = origin_names()[traffic.first_host]
        forwarder = ConnectForwarder(self.proxy, f"{host}:{self.origin}")
        try:
            if traffic.warmup:
                self._send(host, forwarder.port, traffic, traffic.warmup)
            if at_start is not None:
                at_start()
            result = self._send(host, forwarder.port, traffic, traffic.units)
            at_end()
            return result
        finally:
            forwarder.close()

    def _send(self, host: str, port: int, traffic: Traffic, requests: int) -> Told:
        with tempfile.NamedTemporaryFile("r", encoding="ascii") as log:
            command = ["h2load", "-n", str(requests), "-c", str(traffic.connections), "-m", str(_STREAMS), "-t", "1"]
            command += [
                f"--log-file={log.name}",
                f"--connect-to=127.0.0.1:{port}",
                f"https://{host}:{self.origin}{_PATH}",
            ]
            said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE).stdout
            content = len(f"{host} {_PATH} {address_of(traffic.first_host)}\n")
            return result_of(said, log.read(), requests, content)


# -- gRPC


@dataclass(frozen=True)
class MessageOrigin:
    """A running L{benchmarks.message_origin}."""

    tls: int
    plain: int

    def count(self) -> int:
        """Return the number of units that it received."""
        return int(read_url(f"http://127.0.0.1:{self.plain}/count"))

    def counts(self) -> Counts:
        """Return the counters, as L{benchmarks.origins.Origins} does; it does not count connections."""
        return Counts(0, self.count())


@contextmanager
def message_origin(certificates: Path) -> Iterator[MessageOrigin]:
    """Run an origin for messages during the block.

    @param certificates: the directory with the certificate of the origins.
    """
    origin = MessageOrigin(free_port(), free_port())
    command = [
        sys.executable,
        "-m",
        "benchmarks.message_origin",
        "--tls",
        str(origin.tls),
        "--plain",
        str(origin.plain),
    ]
    command += ["--certificate", str(certificates / "origin.pem"), "--key", str(certificates / "origin-key.pem")]
    process = subprocess.Popen(command, cwd=_TREE)
    try:
        wait_for_port(origin.tls, process, "the origin")
        yield origin
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class GrpcLoad:
    """Unary calls of L{GrpcCalls}, which checks the content and the status of every response.

    @ivar port: the port of the proxy.
    @ivar target: the origin.
    @ivar ca: the CA that clients of the proxy trust inside its tunnels.
    """

    port: int
    target: MessageOrigin
    ca: Path | None

    @property
    def origin(self) -> int:
        """The port of the origin."""
        return self.target.tls

    @property
    def plain(self) -> int:
        """The port of the origin without TLS."""
        return self.target.plain

    def run(
        self,
        traffic: Traffic,
        *,
        at_start: Callable[[], object] | None = None,
        at_end: Callable[[], object] = lambda: None,
    ) -> Told:
        """Send the load; see L{benchmarks.native.Load.run}."""
        try:
            calls = GrpcCalls(self, traffic.connections, _STREAMS)
            try:
                return self._send(calls, traffic, at_start, at_end)
            finally:
                calls.close()
        except (Unproven, OSError) as error:
            raise LoadFailed(f"{HOST}: {error}") from error

    def _send(
        self, calls: GrpcCalls, traffic: Traffic, at_start: Callable[[], object] | None, at_end: Callable[[], object]
    ) -> Told:
        if traffic.warmup:
            calls.send(traffic.warmup)
        if at_start is not None:
            at_start()
        began, done, latencies = time.perf_counter(), 0, []
        while done < traffic.units:
            # One batch: every connection has its calls in progress, so this is the latency of the slowest one.
            batch = time.perf_counter()
            sent = calls.send(1)
            latencies += [(time.perf_counter() - batch) * 1e6] * sent
            done += sent
        seconds = time.perf_counter() - began
        at_end()
        return told(done, latencies, seconds=seconds)
