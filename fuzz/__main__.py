"""C{python -m fuzz [SECONDS] [--runs N] [--target NAME]}: fuzz every target, one after the other, with atheris.

New inputs are stored in C{fuzz/.found/}, which is not in the repository.  Add important inputs to C{fuzz/corpus/} by
hand.  An input that breaks a target is stored there as C{crash-...}: minimize it, add a unit test, then fix the error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE / ".found"

# No target needs longer inputs, and most of them would only be slower.
_LONGEST = 4096
_SHORTER = {
    "events": 512,
    "grpc": 512,
    "http2": 512,
    "http2_origin": 512,
    "http2_session": 512,
    "multipart": 768,
    "proxy_protocol": 256,
    "websocket": 768,
}
_MEGABYTES = 1024
_SECONDS_FOR_ONE = 5


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz a target in this process, and exit."""
    import atheris

    with atheris.instrument_imports(include=["egress"]):
        from fuzz.targets import TARGETS
    from fuzz.mutators import FRAMINGS, mutator

    framed = FRAMINGS.get(name)
    options = (
        {}
        if framed is None
        else {"custom_mutator": mutator(framed[0], lambda data, limit: atheris.Mutate(data, limit), framed[1])}
    )
    atheris.Setup([f"fuzz.{name}", *arguments], TARGETS[name], **options)
    atheris.Fuzz()


def run(name: str, seconds: int | None, runs: int | None) -> dict[str, object]:
    """Fuzz a target in a separate process.

    @return: the results.
    """
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(f"-max_len={_SHORTER.get(name, _LONGEST)}", f"-rss_limit_mb={_MEGABYTES}", f"-timeout={_SECONDS_FOR_ONE}"),
        *(f"-artifact_prefix={found}/", "-print_final_stats=1", "-verbosity=1"),
        *([f"-max_total_time={seconds}"] if seconds is not None else []),
        *([f"-runs={runs}"] if runs is not None else []),
        *(str(found), str(CORPUS / name)),
    ]
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "fuzz", "--one", name, *arguments],
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    reached = re.search(r"DONE\s+cov: (\d+) ft: (\d+)", done.stderr)
    if done.returncode:
        print(done.stdout, done.stderr[-4000:], sep="\n", file=sys.stderr)
    return {
        "target": name,
        "runs": int(executed[1]) if executed else 0,
        "seconds": round(time.monotonic() - began),
        "edges": int(reached[1]) if reached else 0,
        "date": time.strftime("%Y-%m-%d"),
        "findings": "none" if done.returncode == 0 else f"one, in fuzz/.found/{name}",
    }


def main() -> int:
    """Run.

    @return: the exit status.
    """
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
        return 0
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("seconds", nargs="?", type=int, help="seconds for each target")
    parser.add_argument("--runs", type=int, help="executions of each target")
    parser.add_argument("--target", choices=names, action="append")
    parser.add_argument("--json", type=Path, help="write the results to this file, for the scorecard")
    options = parser.parse_args()
    seconds = 60 if options.seconds is None and options.runs is None else options.seconds
    results = []
    for name in options.target or names:
        result = run(name, seconds, options.runs)
        print(
            "{target}: {runs:,} executions, {seconds} s, {edges:,} edges, findings: {findings}".format(**result),
            flush=True,
        )
        results.append(result)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if all(result["findings"] == "none" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
