"""C{python -m tests.scorecard}: run the corpus over TCP, and compare it with C{docs/reference/scorecard.md}.

--write      write the page instead
--peers      record Squid, mitmproxy and mockttp again, if they are installed
--only ID    run one case, and print the observations
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.scorecard import page
from tests.scorecard.corpus import CASES
from tests.scorecard.judge import Outcome, judge
from tests.scorecard.network import play
from tests.scorecard.proxies import ours, peer, play_all
from tests.scorecard.questions import Questions


def our_column(directory: Path) -> dict[str, Outcome]:
    """Run every case against this proxy."""
    questions = Questions()
    found: dict[str, Outcome] = {}
    try:
        for guarded in (False, True):
            cases = [case for case in CASES if case.guarded is guarded]
            with ours(directory / f"ours-{guarded}", questions, guarded=guarded) as running:
                found |= play_all(cases, running, questions)
    finally:
        questions.stop()
    return found


def record_peers(directory: Path) -> None:
    """Run the cases against other proxies.  The recorded results of a missing proxy do not change."""
    from benchmarks.peers.mitmproxy import Mitmproxy
    from benchmarks.peers.mockttp import Mockttp
    from benchmarks.peers.squid import Squid

    kept = {one["name"]: one for one in page.recorded()["peers"]}
    http1 = [case for case in CASES if not (case.guarded or case.by_content or case.http2)]
    http2 = [case for case in CASES if case.http2]
    for other, cases in ((Squid(), http1), (Mitmproxy(), [*http1, *http2]), (Mockttp(), http2)):
        missing = other.missing()
        if missing is not None:
            print(f"{other.name} is not installed: {missing}", file=sys.stderr)
            continue
        questions = Questions()
        with peer(other, directory / other.name, questions) as running:
            outcomes = play_all(cases, running, questions)
        questions.stop()
        texts = {name: str(outcome) for name, outcome in outcomes.items()}
        kept[other.name] = {"name": other.name, "version": other.version(), "outcomes": texts}
    page.record(peers=list(kept.values()))


def _show(name: str, directory: Path) -> None:
    (case,) = [case for case in CASES if case.id == name]
    questions = Questions()
    with ours(directory / "ours", questions, guarded=case.guarded) as running:
        played, seen = play(case, questions, running.port, running.ca)
    print(played.about, seen, judge(played, seen), sep="\n")


def main() -> int:
    """Run.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.scorecard")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", metavar="ID")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="egress-scorecard-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if options.only:
            _show(options.only, directory)
            return 0
        if options.peers:
            record_peers(directory)
        outcomes = our_column(directory)
    wrong = [case for case in CASES if not outcomes[case.id].meets(case.must)]
    for case in wrong:
        print(f"{case.id}: {outcomes[case.id]}; expected: {case.must}")
    text = page.text_of({one: str(outcome) for one, outcome in outcomes.items()})
    if options.write:
        page.PAGE.write_text(text, encoding="utf-8")
    elif page.PAGE.read_text(encoding="utf-8") != text:
        print("docs/reference/scorecard.md is stale: python -m tests.scorecard --write")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
