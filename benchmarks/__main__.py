"""The command line: C{python -m benchmarks}."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks import names, native, origins, protocol_loads
from benchmarks.builds import COPY, builds, compiled_copy
from benchmarks.chart import chart
from benchmarks.measure import Bench, Cores, Run, Void, pinned
from benchmarks.peers import PEERS, Peer, PeerFailed
from benchmarks.report import Entrant, Figures, Table, is_ours, number, render, render_summary
from benchmarks.scenarios import BEFORE, OURS, SCENARIOS, Scenario
from benchmarks.signals import interrupt_on_sigterm

_FILES = 65536


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    made.add_argument("--only", nargs="+", metavar="SCENARIO", help="only these scenarios; * matches anything")
    made.add_argument(
        "--peers", nargs="+", metavar="NAME", help="only these proxies; egressproxy: all builds of this project"
    )
    made.add_argument(
        "--compiled",
        nargs="?",
        const="",
        metavar="DIR",
        help="also measure the compiled build: of a source tree that was compiled in place, or of this one, which is"
        " copied and compiled",
    )
    made.add_argument("--before", type=Path, metavar="DIR", help="also measure the proxy of another source tree")
    made.add_argument(
        "--before-python",
        metavar="PYTHON",
        help="the Python program for --before; without --before, the proxy that is installed for it is measured",
    )
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="measurements of each scenario (3)")
    made.add_argument("--quick", action="store_true", help="check that everything runs; the figures are not meaningful")
    made.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), metavar="DIR", help="directory of the results"
    )
    made.add_argument("--list", action="store_true", help="list scenarios, proxies and missing programs, and exit")
    return made


def chosen_scenarios(patterns: Sequence[str] | None) -> list[Scenario]:
    """Return the scenarios that match a pattern.

    @raise ValueError: if a pattern matches no scenario.
    """
    for pattern in patterns or ():
        if not any(fnmatchcase(one.name, pattern) for one in SCENARIOS):
            raise ValueError(f"there is no scenario {pattern}: see --list")
    return [one for one in SCENARIOS if not patterns or any(fnmatchcase(one.name, pattern) for pattern in patterns)]


def chosen_peers(wanted: Sequence[str] | None, ours: Sequence[Peer]) -> list[Peer]:
    """Return the proxies with these names, independently of case.

    @param ours: the builds of this project.
    @raise ValueError: if there is no such proxy.
    """
    known = {peer.name.lower(): peer for peer in (*ours, *PEERS)}
    names = {name.lower() for name in wanted or known}
    if OURS in names:
        names = names - {OURS} | {peer.name.lower() for peer in ours}
    for name in sorted(names - known.keys()):
        raise ValueError(f"there is no proxy {name}: see --list")
    return [peer for name, peer in known.items() if name in names]


def machine(arguments: Sequence[str], cores: Cores) -> dict[str, str]:
    """Return the environment of the results."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return {
        "CPU": models[0] if models else platform.machine(),
        "cores": str(len(cores.all)),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
    }


@dataclass
class Session:
    """All measurements of a run.

    @ivar rounds: the number of measurements of each entrant.
    @ivar failed: the failures of egressproxy.
    """

    bench: Bench
    rounds: int
    total: int
    done: int = 0
    failed: list[str] = field(default_factory=list)

    def scenario(self, scenario: Scenario, peers: Sequence[tuple[Peer, str]]) -> Table:
        """Run all rounds of all entrants alternately, so that changes of the machine affect all of them."""
        entered = list(entrants(scenario, peers))
        table = Table(scenario, [entrant for entrant, _, _ in entered], len(self.bench.cores.all))
        for number_ in range(1, self.rounds + 1):
            for entrant, peer, options in entered:
                run = Run(self.bench, scenario, peer, options)
                if number_ == 1 and scenario.traffic.via == "forward" and not scenario.authorizer:
                    self._check_integrity(entrant, run)
                self.done += 1
                said = self._measure(entrant, run)
                progress = f"[{self.done}/{self.total}] {scenario.name} {number_}/{self.rounds}"
                print(f"{progress} {entrant.name}: {said}", flush=True)
        return table

    def _measure(self, entrant: Entrant, run: Run) -> str:
        try:
            with self._directory() as directory:
                found = run.measure(Path(directory))
        except Void as error:
            entrant.void.append(str(error))
            if is_ours(entrant.name):
                self.failed.append(f"{run.scenario.name}, {entrant.name}: {error}")
            return f"void: {error}"
        entrant.rounds.append(found)
        figures = Figures.of(run.scenario, [found])
        if run.scenario.idle:
            return f"{number(figures.memory)} KiB per connection"
        rate, cpu = ("GiB/s", "s/GiB") if run.scenario.in_gib else ("/s", "ms")
        return (
            f"{number(figures.rate)} {rate}, CPU {number(figures.cpu)} {cpu}, p50 {number(figures.p50)} ms,"
            f" p99 {number(figures.p99)} ms, {number(figures.memory)} MiB"
        )

    def _check_integrity(self, entrant: Entrant, run: Run) -> None:
        with self._directory() as directory:
            note = run.mixes_up(Path(directory))
        if note:
            entrant.notes.append(note)
            print(f"  {entrant.name} {note}", flush=True)
            if is_ours(entrant.name):
                self.failed.append(f"{run.scenario.name}: {note}")

    def _directory(self) -> tempfile.TemporaryDirectory[str]:
        made = tempfile.TemporaryDirectory(dir=self.bench.directory, prefix="proxy-", ignore_cleanup_errors=True)
        Path(made.name).chmod(0o755)  # proxies that drop root privileges still read their configuration
        return made


def entrants(
    scenario: Scenario, peers: Iterable[tuple[Peer, str]]
) -> Iterable[tuple[Entrant, Peer, Mapping[str, str]]]:
    """Return the entrants of a scenario with their options.

    @param peers: the proxies with their versions.
    """
    able = [(peer, version) for peer, version in peers if scenario.can in peer.can]
    if not scenario.variants:
        for peer, version in able:
            yield Entrant(peer.name, version), peer, {}
        return
    # The first build of this source tree: the compiled one, if it takes part.
    for peer, version in [one for one in able if is_ours(one[0].name) and one[0].name != BEFORE][:1]:
        for name, options in scenario.variants.items():
            yield Entrant(name, version), peer, options


def write(output: Path, header: Mapping[str, str], tables: Sequence[Table], missing: Sequence[str]) -> None:
    """Write C{results.json}, C{results.md} and C{chart.svg}."""
    output.mkdir(parents=True, exist_ok=True)
    whole = {"machine": header, "missing": list(missing), "scenarios": [table.as_json() for table in tables]}
    (output / "results.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / "results.md").write_text(render(header, tables, missing), encoding="utf-8")
    (output / "chart.svg").write_text(chart(tables, header), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    @return: the exit status.
    """
    options = parser().parse_args(arguments)
    try:
        scenarios = chosen_scenarios(options.only)
        compiled = Path(options.compiled) if options.compiled else None
        if options.compiled == "":
            compiled = compiled_copy(COPY)
        peers = chosen_peers(options.peers, list(builds(compiled, options.before, options.before_python)))
    except (ValueError, PeerFailed) as error:
        parser().error(str(error))
    reasons = [(peer, peer.missing()) for peer in peers]
    lacking = [f"{peer.name}: {reason}" for peer, reason in reasons if reason]
    needed = [*native.missing(), *origins.missing(), *protocol_loads.missing()]
    # A build that cannot run is not skipped: the comparison would be another one.
    needed += [f"{peer.name}: {reason}" for peer, reason in reasons if reason and is_ours(peer.name)]
    if options.list:
        print("Scenarios:", *(f"  {one.name:24} {one.title}" for one in scenarios), sep="\n")
        print("Proxies:", *(f"  {peer.name:24} {reason or peer.version()}" for peer, reason in reasons), sep="\n")
    for line in needed:
        print(f"missing, and required: {line}", file=sys.stderr)
    if options.list or needed:
        return 0 if options.list else 2
    try:
        names.enter(native.make_build_directory(native.BUILD), [sys.executable, "-m", "benchmarks", *arguments])
        programs = native.compile_all()
    except (names.NamesError, native.CompileError) as error:
        print(error, file=sys.stderr)
        return 2
    for line in lacking:
        print(f"missing, and skipped: {line}")
    if options.quick:
        scenarios = [one.quick() for one in scenarios]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    interrupt_on_sigterm()
    taking_part = [(peer, peer.version()) for peer, reason in reasons if not reason]
    rounds = 1 if options.quick else options.rounds
    cores = Cores(tuple(sorted(os.sched_getaffinity(0))))
    header = machine(arguments, cores)
    tables: list[Table] = []
    with tempfile.TemporaryDirectory(prefix="egressproxy-benchmarks-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        served = directory / "origins"
        served.mkdir()
        served_by = origins.running(served, programs, as_root=os.geteuid() == 0, files=files)
        with pinned(cores.others), served_by as running:
            total = rounds * sum(len(list(entrants(one, taking_part))) for one in scenarios)
            session = Session(Bench(directory, programs, running, cores), rounds, total)
            for scenario in scenarios:
                tables.append(session.scenario(scenario, taking_part))
                # Write after each scenario, so that a later error loses no results.
                write(options.output, header, tables, lacking)
    print("", render_summary(tables), "", f"written to {options.output}", sep="\n")
    for failure in session.failed:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if session.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except origins.OriginsError as error:
        sys.exit(f"the origins: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
