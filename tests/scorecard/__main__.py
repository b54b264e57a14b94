"""C{python -m tests.scorecard}: run the corpus over TCP, and compare it with C{docs/reference/scorecard.md}.

--write      write the page instead
--peers      record Squid, mitmproxy and mockttp again, if they are installed
--only ID    run one case, and print the observations
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.peers import Peer
from benchmarks.peers.mitmproxy import Mitmproxy
from benchmarks.peers.mockttp import Mockttp
from benchmarks.peers.squid import Squid
from tests.scorecard import page
from tests.scorecard.cases import SOCKS_CLIENT, Case, Listener
from tests.scorecard.corpus import CASES
from tests.scorecard.judge import Outcome, judge
from tests.scorecard.network import play
from tests.scorecard.proxies import ours, peer, play_all, play_peer
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


@attrs.frozen
class Run:
    """Some cases against another proxy with special options."""

    peer: Peer
    cases: Sequence[Case]
    listener: Listener = Listener.HTTP
    options: Mapping[str, str] = attrs.field(factory=dict)


def _runs() -> list[Run]:
    def on(listener: Listener) -> list[Case]:
        return [case for case in CASES if case.listener is listener and not (case.guarded or case.by_content)]

    http2 = [case for case in on(Listener.HTTP) if case.http2]
    http1 = [case for case in on(Listener.HTTP) if not case.http2]
    content = [case for case in CASES if case.by_content]
    squid, mitmproxy, mockttp = Squid(), Mitmproxy(), Mockttp()
    socks5 = {"http2": "true", "mode": "socks5"}
    return [
        Run(squid, http1),
        Run(squid, on(Listener.BALANCED), Listener.BALANCED, {"balancers": "127.0.0.1"}),
        Run(squid, on(Listener.STRANGER), Listener.STRANGER, {"balancers": "192.0.2.1"}),
        Run(mitmproxy, [*http1, *http2], options={"http2": "true"}),
        Run(mitmproxy, content, options={"content": "true"}),
        Run(mitmproxy, on(Listener.SOCKS), Listener.SOCKS, socks5),
        Run(
            mitmproxy,
            on(Listener.SOCKS_LOGIN),
            Listener.SOCKS_LOGIN,
            {**socks5, "proxyauth": b":".join(SOCKS_CLIENT).decode()},
        ),
        Run(mockttp, http2),
        Run(mockttp, content, options={"content": "true"}),
        Run(mockttp, on(Listener.SOCKS), Listener.SOCKS, {"socks": "true"}),
    ]


def record_peers(directory: Path) -> None:
    """Run the cases against other proxies.  The recorded results of a missing proxy do not change."""
    kept = {one["name"]: one for one in page.recorded()["peers"]}
    found: dict[str, dict[str, str]] = {}
    for number, run in enumerate(_runs()):
        other = run.peer
        missing = other.missing()
        if missing is not None:
            print(f"{other.name} is not installed: {missing}", file=sys.stderr)
            continue
        questions = Questions()
        place = directory / f"{other.name}-{number}"
        with peer(other, place, questions, run.listener, run.options) as running:
            outcomes = play_peer(run.cases, running, questions)
        questions.stop()
        texts = found.setdefault(other.name, {})
        texts.update({name: str(outcome) for name, outcome in outcomes.items()})
        kept[other.name] = {"name": other.name, "version": other.version(), "outcomes": texts}
    page.record(peers=list(kept.values()))


def _show(name: str, directory: Path) -> None:
    (case,) = [case for case in CASES if case.id == name]
    questions = Questions()
    with ours(directory / "ours", questions, guarded=case.guarded) as running:
        played, seen = play(case, questions, running.ports[case.listener], running.ca)
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
