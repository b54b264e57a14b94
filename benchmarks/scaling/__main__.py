"""The command line: C{python -m benchmarks.scaling}.

It sends the same requests to the simulation and to 1, 2, and 3 real replicas with a real Redis, and compares what
happened to them, with and without shared state.  Then it prints what the model says of larger fleets.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.contestants import Bench, run_command
from benchmarks.scaling import model, plan
from benchmarks.scaling.engine import busy
from benchmarks.scaling.model import Load
from benchmarks.scaling.replay import Measured, replay
from benchmarks.scaling.simulation import Counts, Fleet, arrivals
from benchmarks.shared import engine

REPLICAS: Final = (1, 2, 3)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    numbers: tuple[tuple[str, float, str, str], ...] = (
        ("--rate", 150.0, "N", "requests per second"),
        ("--keys", 200, "N", "different requests"),
        ("--skew", 1.0, "S", "exponent of their popularity"),
        ("--ttl", 2.0, "SECONDS", "time to live of decisions"),
        ("--call", 0.02, "SECONDS", "time of a call"),
        ("--seconds", 30.0, "N", "duration of each measurement"),
        ("--seed", 1, "N", "of the times of the requests"),
        ("--plan-rate", 500.0, "N", "the plan: requests per second of a replica"),
        ("--plan-keys", 10_000, "N", "the plan: different requests"),
        ("--plan-ttl", 60.0, "SECONDS", "the plan: time to live of decisions"),
        ("--local-cost", 150.0, "US", "CPU time for a request whose decision the process has"),
        ("--shared-cost", 270.0, "US", "the same, for a shared decision"),
        ("--call-cost", 210.0, "US", "the same, for a call of the authorizer"),
        ("--command-cost", 0.0, "US", "CPU time of a command of the engine; 0: as measured with many connections"),
    )
    for name, default, unit, text in numbers:
        made.add_argument(name, type=type(default), default=default, metavar=unit, help=f"{text} ({default:g})")
    made.add_argument("--plan", action="store_true", help="do not measure, and only print the plan")
    made.add_argument("--quick", action="store_true", help="see whether everything runs; the figures mean little")
    return made


def row(name: str, counts: Counts, seconds: float, expected: model.Rates) -> str:
    """Return one line of the comparison."""
    cells = [str(value) for _, value in counts.rows()]
    lookups = f"{expected.lookups * seconds:.0f}" if expected.lookups else "-"
    return f"| {name} | " + " | ".join([*cells, f"{expected.questions * seconds:.0f}", lookups]) + " |"


def compare(bench: Bench, options: argparse.Namespace) -> list[Measured]:
    """Print the comparison of the simulation with real replicas, and return the measurements with shared state."""
    load = Load(options.rate, options.keys, options.skew, options.ttl, options.call)
    key = bench.directory / "shared.key"
    key.touch(0o600)
    key.write_text(secrets.token_hex(32), encoding="ascii")
    print("| Fleet | Own cache | Joined | Shared | of these waited | Calls | Calls, model | Lookups, model |")
    print("| --- |" + " ---: |" * 7)
    found = []
    for replicas in REPLICAS:
        requests = arrivals(load, options.seconds, replicas, options.seed)
        for shares in (False, True):
            expected = (model.shared if shares else model.alone)(load, replicas)
            name = f"{replicas}{', shared' if shares else ''}"
            print(row(f"{name}: simulation", Fleet(load, shares).run(requests), options.seconds, expected))
            if shares:
                with engine(bench.directory) as location:
                    measured = replay(bench, load, requests, replicas, (location.removeprefix("unix:"), str(key)))
                found.append(measured)
            else:
                measured = replay(bench, load, requests, replicas, None)
            print(row(f"{name}: measured", measured.counts, options.seconds, expected), flush=True)
    return found


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the tables."""
    found = compare(bench, options)
    print("\n| Replicas | Commands of the engine | Model | CPU time, µs/command |\n| ---: | ---: | ---: | ---: |")
    costs = []
    for replicas, measured in zip(REPLICAS, found, strict=True):
        counts = measured.counts
        # In the whole time, not in a second.
        rates = model.Rates(counts.questions, counts.shared - counts.waited + counts.questions)
        expected = plan.commands(rates, 0) + options.seconds * plan.commands(model.Rates(0, 0), replicas)
        costs.append(1e6 * measured.engine.cpu / measured.engine.commands)
        print(f"| {replicas} | {measured.engine.commands} | {expected:.0f} | {costs[-1]:.1f} |")
    with engine(bench.directory) as location:
        lookup = 1e6 * busy(Path(location.removeprefix("unix:")))
    print(f"\nA lookup takes {lookup:.1f} µs of the engine's CPU time if 50 connections send one at a time.")
    options.command_cost = options.command_cost or lookup
    print_plan(options)


def print_plan(options: argparse.Namespace) -> None:
    """Print what the model says of larger fleets."""
    load = Load(options.plan_rate, options.plan_keys, options.skew, options.plan_ttl, options.call)
    costs = plan.Costs(options.local_cost, options.shared_cost, options.call_cost, options.command_cost)
    print()
    print("\n".join(plan.lines(load, costs)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    options = parser().parse_args(arguments)
    if options.plan:
        print_plan(options)
        return 0
    if options.quick:
        options.seconds, options.rate = 3.0, 50.0
    return run_command(partial(run, options=options))


if __name__ == "__main__":
    sys.exit(main())
