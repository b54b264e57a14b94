"""The proxies: this proxy as its users run it, other proxies as the benchmarks run them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.peers import Peer, Setup
from tests.integration.base import Proxy
from tests.integration.processes import free_port
from tests.scorecard.cases import Case, Listener
from tests.scorecard.judge import Outcome, judge
from tests.scorecard.network import play
from tests.scorecard.questions import Questions
from tests.scorecard.surroundings import authority, client_line

# A case mostly waits. Other proxies are slower, and a slow response is not an outcome.
_AT_ONCE, _AT_ONCE_AT_PEERS = 16, 4

# The endpoint of each further listener of this proxy: its kind and its settings.
_ENDPOINTS: Final[Mapping[Listener, tuple[str, ...]]] = {
    Listener.SOCKS: ("tcp", "socks5=yes", "client-auth=none"),
    Listener.SOCKS_LOGIN: ("tcp", "socks5=yes", "client-auth={secrets}"),
    Listener.BALANCED: ("haproxy:tcp",),
    Listener.STRANGER: ("haproxy:tcp", "balancers=192.0.2.1"),
    Listener.HTTP2: ("tcp", "h2c=yes"),
}


@attrs.frozen
class Running:
    """A running proxy.

    @ivar ports: the port of each listener.
    @ivar ca: the CA file that its clients trust.
    """

    ports: Mapping[Listener, int]
    ca: Path


@contextmanager
def ours(directory: Path, questions: Questions, *, guarded: bool) -> Iterator[Running]:
    """Start this proxy.

    @param guarded: whether loopback addresses are closed, as in the default configuration.
    """
    directory.mkdir()
    opened = [] if guarded else ["--allow-address", "127.0.0.0/8"]
    trusted = str(authority().write(directory, "origins"))
    secrets = directory / "clients"
    secrets.touch(0o600)
    secrets.write_text(client_line(), encoding="utf-8")
    ports, listen = {}, []
    for listener, (kind, *values) in _ENDPOINTS.items():
        ports[listener] = free_port()
        endpoint = ":".join([kind, str(ports[listener]), "interface=127.0.0.1", *values])
        listen += ["--listen", endpoint.format(secrets=secrets)]
    proxy = Proxy(directory, "--authz-url", questions.url, "--ssl-extra-ca-certs", trusted, *opened, *listen)
    try:
        yield Running({Listener.HTTP: proxy.port, **ports}, proxy.ca)
    finally:
        proxy.process.stop()
        if "Traceback" in proxy.process.output():
            raise AssertionError(proxy.process.output())


@contextmanager
def peer(
    other: Peer, directory: Path, questions: Questions, listener: Listener, options: Mapping[str, str]
) -> Iterator[Running]:
    """Start another proxy with one listener.

    @param options: the options of the peer.
    """
    directory.mkdir()
    native = directory.with_name(f"{directory.name}-native")
    native.mkdir()
    trusted = authority().write(native, "origins")
    native.chmod(0o755)
    setup = Setup(directory, port := free_port(), trusted, questions.url, native, options)
    started = other.start(setup, intercept=True)
    try:
        assert started.ca is not None
        yield Running({listener: port}, started.ca)
    finally:
        started.stop()


def play_all(
    cases: Sequence[Case], running: Running, questions: Questions, at_once: int = _AT_ONCE
) -> dict[str, Outcome]:
    """Run cases against one proxy, several concurrently."""

    def one(case: Case) -> Outcome:
        return judge(*play(case, questions, running.ports[case.listener], running.ca))

    with ThreadPoolExecutor(at_once) as threads:
        return {case.id: outcome for case, outcome in zip(cases, threads.map(one, cases), strict=True)}


def play_peer(cases: Sequence[Case], running: Running, questions: Questions) -> dict[str, Outcome]:
    """Run cases against another proxy, after a case that is not recorded: the first connections can be slow."""
    play(cases[0], questions, running.ports[cases[0].listener], running.ca)
    return play_all(cases, running, questions, _AT_ONCE_AT_PEERS)
