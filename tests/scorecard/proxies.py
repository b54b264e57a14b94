"""The proxies: this proxy as its users run it, other proxies as the benchmarks run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.peers import Peer, Setup
from tests.integration.base import Proxy
from tests.integration.processes import free_port
from tests.scorecard.cases import Case
from tests.scorecard.judge import Outcome, judge
from tests.scorecard.network import play
from tests.scorecard.questions import Questions
from tests.scorecard.surroundings import authority

_AT_ONCE = 8


@attrs.frozen
class Running:
    """A running proxy.

    @ivar ca: the CA file that its clients trust.
    """

    port: int
    ca: Path


@contextmanager
def ours(directory: Path, questions: Questions, *, guarded: bool) -> Iterator[Running]:
    """Start this proxy.

    @param guarded: whether loopback addresses are closed, as in the default configuration.
    """
    directory.mkdir()
    opened = [] if guarded else ["--allow-address", "127.0.0.0/8"]
    trusted = str(authority().write(directory, "origins"))
    proxy = Proxy(directory, "--authz-url", questions.url, "--ssl-extra-ca-certs", trusted, *opened)
    try:
        yield Running(proxy.port, proxy.ca)
    finally:
        proxy.process.stop()
        if "Traceback" in proxy.process.output():
            raise AssertionError(proxy.process.output())


@contextmanager
def peer(other: Peer, directory: Path, questions: Questions) -> Iterator[Running]:
    """Start another proxy."""
    directory.mkdir()
    native = directory.with_name(f"{directory.name}-native")
    native.mkdir()
    trusted = authority().write(native, "origins")
    native.chmod(0o755)
    setup = Setup(directory, port := free_port(), trusted, questions.url, native, {"http2": "true"})
    started = other.start(setup, intercept=True)
    try:
        assert started.ca is not None
        yield Running(port, started.ca)
    finally:
        started.stop()


def play_all(cases: Sequence[Case], running: Running, questions: Questions) -> dict[str, Outcome]:
    """Run cases against one proxy, several concurrently."""

    def one(case: Case) -> Outcome:
        return judge(*play(case, questions, running.port, running.ca))

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return {case.id: outcome for case, outcome in zip(cases, threads.map(one, cases), strict=True)}
