"""The cost of shared state: C{python -m benchmarks.shared}.

The figure is the CPU time of the proxy for one request.  All proxies run from the beginning to the end, and alternate
within each round.  The results are the medians, and the ratios to the proxy that calls the authorization service for
each request.  The engine is Redis, on a UNIX socket.

Every round checks the responses, the counters of the proxy, and the number of calls of the service.
"""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import argparse
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

from benchmarks.contestants import TREE, Bench, Case, Contestant, metrics_in, rows, run_command
from benchmarks.keep_alive import CONNECTIONS, HOST, Client, Unproven
from benchmarks.origins import read_url

# More requests than connections, so that a cache with one entry never has the decision on the next request.
_REQUESTS: Final = 4 * CONNECTIONS
_START_DEADLINE: Final = 10.0

_LOCAL: Final = 'egress_authorizer_cache_lookups_total{result="hit"}'
_SHARED: Final = 'egress_shared_cache_lookups_total{result="hit"}'
_REUSED: Final = '"ttl": 3600'


@dataclass(frozen=True)
class Row:
    """One line of the table.

    @ivar service: further members of the responses of the service.
    @ivar shares: whether the proxy has shared state.
    @ivar distinct: whether the decision on a request is never in the cache of the process.
    @ivar counted: the counter that each request increments; empty: each request is a call of the service.
    """

    title: str
    service: str
    shares: bool
    distinct: bool
    counted: str

    def case(self, options: tuple[str, ...]) -> Case:
        """Return the case that runs it."""
        size = ("--authz-cache", "1") if self.distinct else ()
        return Case(self.title, None, service=self.service, options=(*size, *(options if self.shares else ())))


ROWS: Final = (
    Row("one call of the service for each request", "", False, True, ""),
    Row("decisions in the cache of the process", _REUSED, False, False, _LOCAL),
    Row("the same, with `--shared`", _REUSED, True, False, _LOCAL),
    Row("decisions that another process has shared", _REUSED, True, True, _SHARED),
)


@contextmanager
def engine(directory: Path, before: Sequence[str] = ()) -> Iterator[str]:
    """Run Redis during the block.

    @param before: a program that runs it, such as valgrind, and its options.
    @return: its location.
    @raise Unproven: if it is not installed, or does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise Unproven("redis-server is not installed: run tests/install")
    path = directory / "redis.sock"
    command = [*before, program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if before else None)
    try:
        deadline = time.monotonic() + _START_DEADLINE
        while not path.exists():
            if time.monotonic() > deadline or process.poll() is not None:
                raise Unproven("redis-server does not start")
            time.sleep(0.02)
        yield f"unix:{path}"
    finally:
        process.terminate()
        process.wait()


class Sender:
    """Sends requests to one proxy, and measures it."""

    def __init__(self, row: Row, contestant: Contestant) -> None:
        self.contestant = contestant
        self._row = row
        self._client = Client(contestant.port)
        port = contestant.origin
        head = f"HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\nUser-Agent: benchmark\r\n\r\n"
        number = _REQUESTS if row.distinct else 1
        requests = [f"GET http://{HOST}:{port}/token/7?x={each} {head}".encode("ascii") for each in range(number)]
        self._requests = cycle(requests)
        # The service decides on each request once, if its decisions are reused.
        self._send(2 * _REQUESTS)

    def _send(self, times: int) -> int:
        done = 0
        while done < times:
            done += self._client.ask_each([next(self._requests) for _ in range(CONNECTIONS)], b"<>")
        return done

    def measure(self, times: int) -> None:
        """Send a number of requests.

        @raise Unproven: if the proxy did not do the work of the row.
        """
        service = self.contestant.service
        assert service is not None
        before, asked = self._counted(), service.count()
        self.contestant.meter.start()
        done = self._send(times)
        self.contestant.figures.append(self.contestant.meter.stop() / done)
        found = (self._counted() - before, service.count() - asked)
        if found != ((done, 0) if self._row.counted else (0, done)):
            raise Unproven(f"{self._row.title}: {done} requests, but {found[0]:g} were reused, and {found[1]} called")

    def _counted(self) -> float:
        text = read_url(f"http://127.0.0.1:{self.contestant.metrics}/metrics")
        return metrics_in(text).get(self._row.counted, 0.0)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def lines(found: Sequence[tuple[str, Sequence[float]]]) -> Iterator[str]:
    """Return the table: medians, and the ratios to the first row in the same round.

    @param found: each row with the microseconds of each round.
    """
    yield "| Decisions | CPU, µs/request | Relative to a call | Range over the rounds |"
    yield "| --- | ---: | ---: | ---: |"
    yield from rows(found)


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    key = bench.directory / "shared.key"
    key.touch(0o600)
    key.write_text(secrets.token_hex(32), encoding="ascii")
    with ExitStack() as stack:
        location = stack.enter_context(engine(bench.directory))
        shared = ("--shared", location, "--shared-key-file", str(key))
        senders = []
        for row in ROWS:
            sender = Sender(row, stack.enter_context(bench.contestant(row.case(shared), row.title, TREE)))
            stack.callback(sender.close)
            senders.append(sender)
        for number in range(options.rounds):
            for sender in senders if number % 2 else reversed(senders):
                sender.measure(options.requests)
        print("\n".join(lines([(each.contestant.name, each.contestant.figures) for each in senders])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=1000, metavar="N", help="requests of each row in a round (1000)"
    )
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="(11)")
    parser.add_argument("--quick", action="store_true", help="see whether everything runs; the figures mean little")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.requests = 1, 64
    return run_command(partial(run, options=options))


if __name__ == "__main__":
    sys.exit(main())
