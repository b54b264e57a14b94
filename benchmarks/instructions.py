"""Instructions for one request, compared between proxies: C{python -m benchmarks.instructions}.

C{--against} compares the proxy of this source tree with the proxy of another one.  C{--treq} compares the agent that
sends authorization requests with treq's client over this agent (L{benchmarks.treq_proxy}).  C{--store} compares a proxy
with an audit store with a proxy without one.

Valgrind counts the instructions of the main thread, without the kernel, and only during the measured requests.  Timers
of the proxy count, too.  They add one to three percent on a busy machine, where a round takes longer.  The addresses of
objects differ from start to start and change the count by up to one percent, so each proxy starts several times.
C{--cpu-time} measures the CPU time of all threads instead.  With C{--store}, the process that writes the store then has
a row of its own.  Requests take so long under Valgrind that the batches of records are much smaller than in practice:
the ratio of the instructions is an upper bound.
"""

# ruff: noqa: S603, S607 -- it starts only programs of valgrind

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.contestants import TREE, TWIST, Bench, Case, CpuTime, alternate, cpu_seconds, rows, run_command
from benchmarks.keep_alive import Unproven

FORWARD = Case("HTTP")
INTERCEPT = Case("intercepted HTTPS", intercepted=True)
INTERCEPT_AUTHZ = Case("intercepted HTTPS, authorization request", None, service="", intercepted=True)
CLIENTS = {
    "agent": "agent of the proxy",
    "treq": "`treq.client.HTTPClient` over the agent",
    "reduced-treq": "the same, without the work for URL and cookies",
}

_WRITTEN: Final = 0.6

Variant = tuple[Case, str, Path, Sequence[str]]

_TOTAL = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)


def groups(against: Path | None, treq: bool, store: Path | None = None) -> Iterator[list[Variant]]:
    """Return the proxies to compare, in groups.  The ratios refer to the first proxy of a group."""
    if against is not None:
        for case in (FORWARD, INTERCEPT, INTERCEPT_AUTHZ):
            yield [(case, "before", against.resolve(), TWIST), (case, "now", TREE, TWIST)]
    if store is not None:
        # The records of a round are written half a second after it.
        for case in (FORWARD, INTERCEPT, INTERCEPT_AUTHZ):
            case = replace(case, settle=_WRITTEN)
            with_store = replace(case, options=("--audit-store", f"sqlite:{store}"))
            yield [(case, "without an audit store", TREE, TWIST), (with_store, "with an audit store", TREE, TWIST)]
    if treq:
        python = (sys.executable, "-m", "benchmarks.treq_proxy")
        yield [(INTERCEPT_AUTHZ, title, TREE, (*python, name)) for name, title in CLIENTS.items()]


def instructions_in(text: str) -> int:
    """Read the number of instructions from a file of callgrind."""
    found = _TOTAL.search(text)
    if found is None:
        raise Unproven("callgrind wrote no total")
    return int(found[1])


class Instructions:
    """The meter of instructions; see L{benchmarks.contestants.Meter}.

    @param directory: where callgrind writes its files.
    @param pid: the process, which runs under callgrind.
    """

    def __init__(self, directory: Path, pid: int) -> None:
        self._directory = directory
        self._pid = pid

    def start(self) -> None:
        """Begin."""
        self._control("instrumentation", "on")
        self._control("zero")

    def stop(self) -> float:
        """Return the instructions since C{start}."""
        self._control("dump")
        self._control("instrumentation", "off")
        files = self._directory.glob(f"callgrind.{self._pid}.*-01")
        newest = max(files, key=lambda path: int(path.suffix[1:-3]))
        return instructions_in(newest.read_text(encoding="ascii"))

    def _control(self, *command: str) -> None:
        done = subprocess.run(
            ["vgdb", f"--pid={self._pid}", *command], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            raise Unproven(f"vgdb {' '.join(command)}: {done.stdout}{done.stderr}")


class WithWriter(CpuTime):
    """The meter of the CPU time of a proxy, and also of the process that writes its audit store.

    The benchmark runs a proxy on a core of its own, which the writer process inherits.  Where both took turns on it,
    the proxy would pay for the caches that the other one fills, so this meter moves the writer to the other cores.

    @param others: the cores of all other processes.
    @ivar writer: the CPU time of that process in each round, in microseconds.
    """

    def __init__(self, pid: int, others: Sequence[int]) -> None:
        super().__init__(pid)
        self._others = others
        self.writer: list[float] = []

    def start(self) -> None:
        """Begin."""
        for writer in self._writers():
            os.sched_setaffinity(writer, self._others)
        self._writer_begin = self._writer_seconds()
        super().start()

    def stop(self) -> float:
        """Return the CPU time of the proxy since C{start}."""
        self.writer.append((self._writer_seconds() - self._writer_begin) * 1e6)
        return super().stop()

    def _writers(self) -> Iterator[int]:
        return map(int, Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text(encoding="ascii").split())

    def _writer_seconds(self) -> float:
        return sum(map(cpu_seconds, self._writers()))


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    files = bench.directory / "callgrind"
    files.mkdir()
    valgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")
    valgrind += (f"--callgrind-out-file={files}/callgrind.%p",)
    print(f"| Request | Proxy | {'CPU, µs' if options.cpu_time else 'Instructions'} | Ratio | Range over the rounds |")
    print("| --- | --- | ---: | ---: | ---: |")
    for group in groups(options.against, options.treq, bench.directory / "audit.db" if options.store else None):
        figures: list[list[float]] = [[] for _ in group]
        writer: list[float] = []
        for start in range(options.starts):
            with ExitStack() as stack:
                with_writer = partial(WithWriter, others=bench.cores.others)
                contestants = [
                    stack.enter_context(
                        bench.contestant(case, name, tree, program, with_writer if options.store else CpuTime)
                        if options.cpu_time
                        else bench.contestant(case, name, tree, (*valgrind, *program), partial(Instructions, files), 1)
                    )
                    for case, name, tree, program in group
                ]
                alternate(contestants, range(start, start + options.rounds), options.requests)
                for so_far, one in zip(figures, contestants, strict=True):
                    so_far += one.figures
                    if isinstance(one.meter, WithWriter) and one.case.options:
                        writer += [spent / options.requests for spent in one.meter.writer]
        found = [(f"{case.title} | {name}", one) for (case, name, *_), one in zip(group, figures, strict=True)]
        if writer:
            found.append((f"{group[1][0].title} | the process that writes the store", writer))
        print("\n".join(rows(found, 3)), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another source tree")
    parser.add_argument("--treq", action="store_true", help="the clients for authorization requests")
    parser.add_argument("--store", action="store_true", help="the audit store")
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time")
    parser.add_argument("--requests", type=int, default=128, metavar="N", help="requests of a proxy in a round (128)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="rounds after each start (2)")
    parser.add_argument("--starts", type=int, default=7, metavar="N", help="starts of each proxy (7)")
    options = parser.parse_args(arguments)
    if options.against is None and not options.treq and not options.store:
        parser.error("name a source tree with --against, or use --treq or --store")
    missing = [] if options.cpu_time or shutil.which("vgdb") else ["valgrind: apt-get install valgrind"]
    return run_command(partial(run, options=options), missing)


if __name__ == "__main__":
    sys.exit(main())
