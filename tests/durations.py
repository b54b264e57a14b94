"""How long each test takes: the report of C{python -m tests --durations N}.

The processes of a run append to one file, which the variable names.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

VARIABLE = "EGRESS_TEST_DURATIONS"


@attrs.frozen
class Duration:
    """The duration of a test, or of several tests together.

    @ivar name: the identifier of the test, or the name of its module.
    @ivar cpu: the CPU time of the process and of the programs that the test started and that ended.
    """

    name: str
    seconds: float
    cpu: float


# The CPU time of programs that are children of another process.
_others: list[float] = []


def add_program(cpu: float) -> None:
    """Count the CPU time of a program that the test started, that has ended, and that is no child of this process."""
    _others.append(cpu)


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + sum(_others)


def record() -> None:
    """Record the duration of each test in this process, if a file is named for them."""
    if not (file := os.environ.get(VARIABLE)):
        return
    run = SynchronousTestCase.run

    def measured(self: SynchronousTestCase, result: Any) -> None:
        began, cpu = time.monotonic(), _cpu()
        run(self, result)
        line = f"{self.id()} {time.monotonic() - began:.3f} {_cpu() - cpu:.3f}\n"
        with open(file, "a", encoding="utf-8") as report:
            report.write(line)

    SynchronousTestCase.run = measured  # type: ignore[method-assign]


def read(text: str) -> list[Duration]:
    """Parse recorded durations, the longest first."""
    found = []
    for line in text.splitlines():
        name, seconds, cpu = line.rsplit(" ", 2)
        found.append(Duration(name, float(seconds), float(cpu)))
    return sorted(found, key=lambda each: -each.seconds)


def by_module(durations: list[Duration]) -> list[Duration]:
    """Add up the durations of each module, the longest first."""
    sums: dict[str, tuple[float, float]] = {}
    for each in durations:
        name = each.name.rsplit(".", 2)[0]
        seconds, cpu = sums.get(name, (0.0, 0.0))
        sums[name] = seconds + each.seconds, cpu + each.cpu
    return sorted((Duration(name, *both) for name, both in sums.items()), key=lambda each: -each.seconds)


def lines(durations: list[Duration], number: int) -> Iterator[str]:
    """Render the slowest modules and tests."""
    total = sum(each.seconds for each in durations)
    yield f"{len(durations)} tests took {total:.0f} s, {sum(each.cpu for each in durations):.0f} s of them on a CPU."
    for kind, slowest in (("modules", by_module(durations)), ("tests", durations)):
        yield f"The slowest {kind}, in seconds, and in seconds on a CPU:"
        for each in slowest[:number]:
            yield f"{each.seconds:8.2f} {each.cpu:8.2f} {each.name}"


def report(file: Path, number: int) -> str:
    """Return the report about the slowest modules and tests of a run."""
    return "\n".join(lines(read(file.read_text("utf-8")), number))
