"""What a script costs the engine, sent as its text and as its digest: C{python -m benchmarks.script_cost}.

The engine is Redis.  Valgrind counts its instructions, without the kernel.  C{--cpu-time} measures its CPU time.  In
both cases, 20 commands arrive at a time.  The two ways alternate within each round, and the results are the medians.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from hiredis import Reader, pack_command

from benchmarks.contestants import Bench, CpuTime, run_command
from benchmarks.instructions import Instructions
from benchmarks.keep_alive import Unproven
from benchmarks.shared import engine
from egress.authz.budgets.script import MEMBERS, TAKE, arguments_of
from egress.authz.budgets.token_bucket import SECOND, Operation, Rate
from egress.authz.shared_cache import RELEASE
from egress.authz.shared_decisions import MAX_VALUE, READ
from egress.shared.keys import SharedKeys
from egress.shared.script import Argument, Run, Script

_TIMEOUT: Final = 120.0
_AT_A_TIME: Final = 20
_KEYS: Final = SharedKeys(bytes(32), "benchmark")
_GROUP: Final = _KEYS.group(b"benchmark")
_DECISION: Final = b"v" * 500
# A million requests in a day; the process has seen the budget some time ago.
_TAKEN: Final = Operation(Rate(86400 * SECOND / 1e6, 1e6), 0, 1, 1, 1_700_000_000_000_000, 1_700_000_000_000_000)


@dataclass(frozen=True)
class Use:
    """One line of the table: what a script does.

    @ivar title: its name.
    @ivar script: the script.
    @ivar kinds: the kinds of its values.
    @ivar arguments: its arguments.
    """

    title: str
    script: Script
    kinds: Sequence[bytes]
    arguments: Sequence[Argument]

    @property
    def run(self) -> Run:
        """The run of the script."""
        return Run(self.script, [_KEYS.name(_GROUP, kind) for kind in self.kinds], self.arguments)


USES: Final = (
    Use("a request counts in a budget", TAKE, [b"one"], arguments_of([_TAKEN])),
    Use("a request counts in two budgets", TAKE, [b"one", b"two"], arguments_of([_TAKEN, _TAKEN])),
    Use("a process registers", MEMBERS, [b"members"], ["0123456789abcdef01234567", 15_000_000]),
    Use("a lookup of a decision", READ, [b"lists", b"decision"], [MAX_VALUE]),
    Use("a lease ends", RELEASE, [b"lease"], ["0123456789abcdef0123456789abcdef"]),
)


class Connection:
    """A connection to the engine."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT)
        self._socket.connect(str(path))
        self._reader = Reader()

    def send(self, command: Sequence[Argument], times: int = 1) -> Any:
        """Send a command, several times at once, and return the last reply.

        @raise Unproven: if the engine responds with an error.
        """
        self._socket.sendall(bytes(pack_command(tuple(command))) * times)  # type: ignore[arg-type]
        reply: Any = None
        for _ in range(times):
            while (reply := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(65536))
            if isinstance(reply, Exception):
                raise Unproven(f"the engine responds: {reply}")
        return reply

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def measure(path: Path, meter_of: Callable[[int], Any], options: argparse.Namespace) -> Iterator[str]:
    """Measure, and return the lines of the table.

    @param path: the socket of the engine.
    @param meter_of: returns a meter of a process.
    """
    connection = Connection(path)
    info: bytes = connection.send(["INFO", "server"])
    (pid,) = [int(line[11:]) for line in info.splitlines() if line.startswith(b"process_id:")]
    meter = meter_of(pid)
    for use in USES:
        connection.send(["SCRIPT", "LOAD", use.script.text])
        commands = [use.run.by_text(), use.run.by_digest()]
        figures: list[list[float]] = [[], []]
        for number in range(options.rounds):
            connection.send(["FLUSHALL"])
            connection.send(["SET", _KEYS.name(_GROUP, b"decision"), _DECISION])
            for which in (0, 1) if number % 2 else (1, 0):
                connection.send(commands[which], _AT_A_TIME)
                meter.start()
                for _ in range(options.commands // _AT_A_TIME):
                    connection.send(commands[which], _AT_A_TIME)
                figures[which].append(meter.stop() / (options.commands // _AT_A_TIME * _AT_A_TIME))
        yield row(use.title, [len(pack_command(each)) for each in commands], [median(each) for each in figures])  # type: ignore[arg-type]
    connection.close()


def row(title: str, sizes: Sequence[int], costs: Sequence[float]) -> str:
    """Return one line of the table.

    @param sizes: the bytes of the command with the text, and with the digest.
    @param costs: the costs of both.
    """
    shown = [f"{cost:,.0f}" if cost >= 1000 else f"{cost:.2f}" for cost in costs]
    return f"| {title} | {sizes[0]:,} | {sizes[1]:,} | {shown[0]} | {shown[1]} | {costs[1] / costs[0]:.2f} |"


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    files = bench.directory / "callgrind"
    files.mkdir()
    unit, before, meter_of = "CPU, µs", (), CpuTime
    if not options.cpu_time:
        unit, meter_of = "instructions", partial(Instructions, files)
        before = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")
        before += (f"--callgrind-out-file={files}/callgrind.%p",)
    print(f"| Script | Bytes, text | Bytes, digest | {unit}, text | {unit}, digest | Ratio |")
    print("| --- |" + " ---: |" * 5)
    with engine(bench.directory, before) as location:
        for line in measure(Path(location.removeprefix("unix:")), meter_of, options):
            print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.script_cost", description=__doc__)
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time")
    parser.add_argument("--commands", type=int, metavar="N", help="commands of each kind in a round (2000; CPU: 50000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    options = parser.parse_args(arguments)
    options.commands = options.commands or (50_000 if options.cpu_time else 2000)
    missing = [] if options.cpu_time or shutil.which("vgdb") else ["valgrind: apt-get install valgrind"]
    return run_command(partial(run, options=options), missing)


if __name__ == "__main__":
    sys.exit(main())
