"""The command line: C{python -m benchmarks.soak}."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.signals import interrupt_on_sigterm
from benchmarks.soak.client import Clients
from benchmarks.soak.fairness import RATIO, Fairness, Waited, Window
from benchmarks.soak.faults import ATTACKERS, Fault, schedule
from benchmarks.soak.journal import Journal
from benchmarks.soak.judge import Sample, Trend, Verdict, judge
from benchmarks.soak.stage import PROBE, Stage

_SHOWN = 50
# The tolerated increase of open descriptors after all clients have disconnected.
_LEFT_OVER = 8
_SETTLE = 20.0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__, allow_abbrev=False)
    made.add_argument("--minutes", type=float, default=30.0, metavar="N", help="duration (30)")
    made.add_argument("--workers", type=int, default=1, metavar="N", help="workers of the proxy (1)")
    made.add_argument("--clients", type=int, default=16, metavar="N", help="threads that send requests (16)")
    made.add_argument("--think", type=float, default=0.1, metavar="S", help="maximum pause between requests (0.1)")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="seed of faults and requests (1)")
    made.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="DIR", help="report")
    return made


class _Samples:
    """Samples the resources of the proxy every second."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self.taken: list[Sample] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            try:
                self.taken.append(self._stage.sample())
            except OSError:
                return  # a process of the proxy has ended, which the status or the log shows

    def stop(self) -> list[Sample]:
        """Stop, and return the samples."""
        self._over.set()
        self._thread.join()
        return self.taken


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    @ivar took: the duration in seconds.
    """

    verdict: Verdict
    fairness: Fairness
    faults: Sequence[Fault]
    took: float


def run(directory: Path, options: argparse.Namespace) -> Outcome:
    """Run the soak test.

    @param directory: an empty directory.
    """
    faults = schedule(options.seed, options.minutes * 60)
    windows: list[Window] = []
    stage = Stage(directory, options.workers)
    try:
        before = stage.sample()
        clients = Clients(stage.where, Journal(stage.clients), options.clients, options.seed, options.think)
        samples = _Samples(stage)
        began = time.monotonic()
        clients.start()
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - time.monotonic()))
            start = time.monotonic()
            stage.programs[fault.target].suffer(fault)
            windows.append(Window(start, time.monotonic(), fault.kind if fault.target == ATTACKERS else ""))
        time.sleep(max(0.0, began + options.minutes * 60 - time.monotonic()))
        stage.programs[PROBE].finish()
        clients.stop()
        took = time.monotonic() - began
        taken = samples.stop()
        wrong = clients.defects + _left_over(stage, before)
    finally:
        failures = stage.stop()
    verdict = judge(stage.asked(), stage.questions(), stage.seen(), stage.records(), taken)
    fairness = Fairness(stage.probes(), windows)
    verdict.failures += [*fairness.failures(), *wrong, *failures]
    return Outcome(verdict, fairness, faults, took)


def _left_over(stage: Stage, before: Sample) -> list[str]:
    """Return the failures about descriptors that stay open after clients, service and origins have ended."""
    stage.stop_programs()
    deadline = time.monotonic() + _SETTLE
    while (now := stage.sample()).descriptors > before.descriptors + _LEFT_OVER:
        if time.monotonic() > deadline:
            return [f"{now.descriptors} descriptors are open after the run; before it: {before.descriptors}"]
        time.sleep(0.5)
    return []


# -- the report


def _table(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items(), key=lambda one: -one[1]))


def _trend(name: str, trend: Trend | None, scale: float, unit: str) -> str:
    if trend is None:
        return f"- {name}: the run is too short for a result"
    numbers = [f"{value / scale:.1f}" for value in (trend.start, trend.end, trend.most)]
    return (
        f"- {name}: {numbers[0]}{unit} in the first quarter after the warm-up, {numbers[1]}{unit} in the last,"
        f" {numbers[2]}{unit} at most; {trend.per_minute / scale:+.3f}{unit} per minute"
    )


def _waited(name: str, found: Waited, peace: Waited) -> str:
    ratio = f", {found.p99 / peace.p99:.2f} times the value without faults" if found is not peace and peace.p99 else ""
    return f"- {name}: p99 {found.p99 * 1000:.1f} ms of {found.requests:,} requests{ratio}"


def render(outcome: Outcome, command: str) -> str:
    """The report."""
    verdict, faults, took, fairness = outcome.verdict, outcome.faults, outcome.took, outcome.fairness
    lines = [
        "# Soak test",
        "",
        f"`{command}`: {took / 60:.1f} minutes, {'passed' if verdict.passed else 'FAILED'}",
        "",
        f"- faults: {len(faults)}: {_table(Counter(f'{one.target} {one.kind}' for one in faults))}",
        *(f"- {name}: {_table(counts)}" for name, counts in verdict.counts.items()),
        _trend("memory", verdict.rss, 2**20, " MiB"),
        _trend("descriptors", verdict.descriptors, 1, ""),
        "",
        f"Response times of the measuring client (p99 during an attack: at most {RATIO:g} times that without faults):",
        "",
        _waited("without faults", fairness.peace, fairness.peace),
        *(_waited(kind, found, fairness.peace) for kind, found in fairness.attacks.items()),
    ]
    if verdict.failures:
        lines += ["", f"{len(verdict.failures)} failures:", "", *(f"- {one}" for one in verdict.failures[:_SHOWN])]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    @return: the exit status.
    """
    options = parser().parse_args(arguments)
    command = shlex.join(["python", "-m", "benchmarks.soak", *arguments])
    options.output.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="egressproxy-soak-"))
    outcome = run(directory, options)
    verdict, fairness = outcome.verdict, outcome.fairness
    text = render(outcome, command)
    (options.output / "soak.md").write_text(text, "utf-8")
    whole = {
        "command": command,
        "seconds": outcome.took,
        **verdict.as_json(),
        "peace": vars(fairness.peace),
        "attacks": {kind: vars(found) for kind, found in fairness.attacks.items()},
        "faults": [vars(one) for one in outcome.faults],
    }
    (options.output / "soak.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    print(text, end="")
    if not verdict.passed:
        print(f"the journals are in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    interrupt_on_sigterm()
    sys.exit(main(sys.argv[1:]))
