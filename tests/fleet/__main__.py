"""The command line: C{python -m tests.fleet}."""

from __future__ import annotations

import argparse
import pickle
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.signals import interrupt_on_sigterm
from tests.fleet.approver import Approver
from tests.fleet.joined import Verdict
from tests.fleet.judge import judge
from tests.fleet.report import render
from tests.fleet.schedule import Step, schedule
from tests.fleet.spenders import Spenders
from tests.fleet.stage import NAMES, Stage


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run.

    @ivar seconds: the duration of the load.
    @ivar think: the maximum pause of a client between two requests, in seconds.
    @ivar budgets: whether there are proxies with budgets, and clients that exhaust them.
    @ivar redis: whether Redis runs; otherwise, it is started when the other steps are done.
    @ivar after: the seconds of load after that start.
    """

    seconds: float
    seed: int = 1
    replicas: int = 3
    clients: int = 8
    holders: int = 6
    think: float = 0.1
    ttl: float = 30.0
    budgets: bool = True
    redis: bool = True
    after: float = 20.0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__, allow_abbrev=False)
    made.add_argument("--minutes", type=float, default=15.0, metavar="N", help="duration (15)")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="seed of faults and requests (1)")
    made.add_argument("--replicas", type=int, default=3, metavar="N", choices=range(1, len(NAMES) + 1), help="(3)")
    made.add_argument("--clients", type=int, default=8, metavar="N", help="threads that send requests (8)")
    made.add_argument("--holders", type=int, default=6, metavar="N", help="threads that hold a tunnel open (6)")
    made.add_argument("--think", type=float, default=0.1, metavar="S", help="maximum pause between requests (0.1)")
    made.add_argument("--ttl", type=float, default=30.0, metavar="S", help="time to live of decisions (30)")
    made.add_argument("--no-faults", action="store_true", help="load without faults and revocations")
    made.add_argument("--without-redis", action="store_true", help="Redis is away until the other faults are over")
    made.add_argument("--output", type=Path, metavar="FILE", help="write the report to a file, too")
    made.add_argument("--keep", action="store_true", help="keep the files of all programs, and run.pickle")
    return made


def run(directory: Path, settings: Settings, steps: Sequence[Step], say: Callable[[str], object]) -> Verdict:
    """Run a fleet.

    @param directory: an empty directory.
    @param say: is called with each step before it begins.
    """
    stage = Stage(directory, settings.replicas, ttl=settings.ttl, redis=settings.redis, budgets=settings.budgets)
    try:
        stage.start()
        load = stage.load(seed=settings.seed, clients=settings.clients, holders=settings.holders, think=settings.think)
        began = time.monotonic()
        others: list[Approver | Spenders] = [stage.approver(settings.seed)]
        if settings.budgets:
            others.append(stage.spenders(settings.seed))
        load.start()
        for each in others:
            each.start()
        for step in steps:
            time.sleep(max(0.0, began + step.at - time.monotonic()))
            say(str(step))
            stage.act(step)
        time.sleep(max(0.0, began + settings.seconds - time.monotonic()))
        if not settings.redis:
            say("start redis")
            stage.start_redis()
            time.sleep(settings.after)
        load.stop()
        for each in others:
            each.stop()
        wrong = [*load.defects, *(text for each in others for text in each.defects), *stage.recover(), *stage.stop()]
        observed = stage.observed()
        (directory / "run.pickle").write_bytes(pickle.dumps(observed))
    finally:
        stage.remove()
    verdict = judge(observed)
    verdict.failures += wrong
    return verdict


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    @return: the exit status.
    """
    options = parser().parse_args(arguments)
    settings = Settings(
        seconds=options.minutes * 60,
        seed=options.seed,
        replicas=options.replicas,
        clients=options.clients,
        holders=options.holders,
        think=options.think,
        ttl=options.ttl,
        redis=not options.without_redis,
    )
    steps: Sequence[Step] = ()
    if not options.no_faults:
        names = NAMES[: settings.replicas]
        steps = schedule(settings.seed, settings.seconds, names, settings.holders, redis=settings.redis)
    directory = Path(tempfile.mkdtemp(prefix="egressproxy-fleet-"))
    directory.chmod(0o755)
    verdict = run(directory, settings, steps, lambda text: print(text, flush=True))
    text = render(shlex.join(["python", "-m", "tests.fleet", *arguments]), settings.seconds, steps, verdict)
    print(text, end="")
    if options.output:
        options.output.write_text(text, "utf-8")
    if options.keep or not verdict.passed:
        print(f"the files are in {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    interrupt_on_sigterm()
    sys.exit(main(sys.argv[1:]))
