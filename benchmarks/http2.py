"""The cost of a request in HTTP/2, compared with HTTP/1.1 and with mitmproxy: C{python -m benchmarks.http2}.

h2load sends the requests with both versions, over connections in tunnels that the proxy intercepts.  The figure is the
CPU time of the proxy for one request.  The proxies run from the beginning to the end and alternate within each round.
The results are the medians, and the ratios to HTTP/1.1 through this proxy.

Every round checks that each request has a response with status 200, and that the origins received each of them.
"""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.contestants import Bench, authorization_service, cpu_seconds, rows, run_command
from benchmarks.keep_alive import HOST, Unproven
from benchmarks.measure import pinned
from benchmarks.origins import free_port
from benchmarks.peers import Peer, Setup, Started
from benchmarks.peers.mitmproxy import Mitmproxy
from benchmarks.peers.ours import Ours
from benchmarks.protocol_loads import missing, responses_in
from tests.integration.connect_forwarder import ConnectForwarder

_PATH = "/small/7"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    @ivar version: the version of HTTP that the client uses, as an option of h2load.
    @ivar origin: whether the origin accepts HTTP/2.
    @ivar asks: whether an authorization service decides.
    """

    title: str
    peer: Peer
    version: str = ""
    origin: bool = False
    asks: bool = False


OURS, MITMPROXY = Ours(), Mitmproxy()
ROWS = (
    Row("HTTP/1.1 to HTTP/1.1", OURS, "--h1"),
    Row("HTTP/2 to HTTP/1.1", OURS),
    Row("HTTP/2 to HTTP/2", OURS, origin=True),
    Row("HTTP/1.1 to HTTP/1.1, authorization request", OURS, "--h1", asks=True),
    Row("HTTP/2 to HTTP/1.1, authorization request", OURS, asks=True),
    Row("HTTP/2 to HTTP/2, authorization request", OURS, origin=True, asks=True),
    Row("mitmproxy, HTTP/2 to HTTP/1.1", MITMPROXY),
    Row("mitmproxy, HTTP/2 to HTTP/2", MITMPROXY, origin=True),
    Row("mitmproxy, HTTP/2 to HTTP/1.1, authorization request", MITMPROXY, asks=True),
)


@dataclass
class Running:
    """A proxy of one row.

    @ivar figures: the microseconds of CPU time for a request, in each round.
    """

    row: Row
    started: Started
    forwarder: ConnectForwarder
    port: int
    bench: Bench
    figures: list[float] = field(default_factory=list)

    def measure(self, requests: int, streams: int) -> None:
        """Send requests, and check the responses.

        @raise Unproven: if the proxy did not do its work.
        """
        pid, origins = self.started.process.pid, self.bench.origins
        received, before = origins.counts().requests, cpu_seconds(pid)
        done = self._load(requests, streams)
        self.figures.append((cpu_seconds(pid) - before) / requests * 1e6)
        received = origins.counts().requests - received
        if (done, received) != (requests, requests):
            raise Unproven(f"{self.row.title}: {done} responses, {received} requests at the origin, not {requests}")

    def _load(self, requests: int, streams: int) -> int:
        """Return the number of requests with status 200."""
        command = ["h2load", "-n", str(requests), "-c", "4", "-m", "1" if self.row.version else str(streams), "-t", "1"]
        command += [self.row.version] if self.row.version else []
        command += [f"--connect-to=127.0.0.1:{self.forwarder.port}", f"https://{HOST}:{self.port}{_PATH}"]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600).stdout
        done = responses_in(said)
        if done is None:
            raise Unproven(f"{self.row.title}: h2load says {said}")
        return done


@contextmanager
def running(bench: Bench, row: Row) -> Iterator[Running]:
    """Run the proxy of a row during the block."""
    directory = Path(tempfile.mkdtemp(dir=bench.directory))
    with ExitStack() as stack:
        url = None
        if row.asks:
            service = stack.enter_context(authorization_service(bench.programs, ""))
            url = f"http://127.0.0.1:{service.port}"
        setup = Setup(directory, free_port(), bench.origins.ca, url, bench.programs, {"http2": "true"})
        with pinned(bench.cores.for_proxy(1)):
            started = row.peer.start(setup, intercept=True)
        stack.callback(started.stop)
        port = bench.origins.http2 if row.origin else bench.origins.tls
        forwarder = ConnectForwarder(setup.port, f"{HOST}:{port}")
        stack.callback(forwarder.close)
        yield Running(row, started, forwarder, port, bench)


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    with ExitStack() as stack:
        chosen = [row for row in ROWS if row.peer.missing() is None]
        all_of_them = [stack.enter_context(running(bench, row)) for row in chosen]
        for number in range(options.rounds + 1):
            for one in all_of_them if number % 2 else reversed(all_of_them):
                one.measure(options.requests, options.streams)
        print("| Request | CPU, µs/request | Relative to HTTP/1.1 | Range over the rounds |")
        print("| --- | ---: | ---: | ---: |")
        # The first round is the warm-up.
        print("\n".join(rows([(one.row.title, one.figures[1:]) for one in all_of_them])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="requests in a round (2000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(5)")
    parser.add_argument("--streams", type=int, default=8, metavar="N", help="streams of each of 4 connections (8)")
    options = parser.parse_args(arguments)
    return run_command(partial(run, options=options), missing())


if __name__ == "__main__":
    sys.exit(main())
