"""The checks of C{egress doctor} that make sense in the process of the proxy, and a run of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks, maybeDeferred
from twisted.internet.defer import TimeoutError as TookTooLong

from egress.checks import judgements, machine, network
from egress.checks.finding import Finding, error
from egress.config.model import ProxyConfig
from egress.runtime.threads import Offload

SECONDS: Final = 15.0
"""The timeout of a check."""

NAMES: Final = ("ca", "clock", "dns", "authorizer", "upstream", "descriptors", "versions")
"""The names of the checks, in their order."""


class ServerChecks:
    """Checks of a proxy from inside of it.  There is at most one run at a time; a second caller gets the same result.

    @param reactor: the reactor.
    @param config: the configuration of the proxy.
    @param dry_run: makes a proxy that serves no client, to query the authorizer.
    @param in_thread: runs the calls that block.
    """

    def __init__(
        self, reactor: Any, config: ProxyConfig, dry_run: Callable[[ProxyConfig], network.DryRun], in_thread: Offload
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._dry_run = dry_run
        self._in_thread = in_thread
        self._running: Deferred[Any] | None = None
        self._waiting: list[Deferred[Sequence[Finding]]] = []

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress."""
        return self._running is not None

    def run(self) -> Deferred[Sequence[Finding]]:
        """Make all checks, or join the run in progress.

        @return: fires with the findings, in the order of L{NAMES}, after at most L{SECONDS}.
        """
        waiting: Deferred[Sequence[Finding]] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if self._running is None:
            # Checks can end immediately.
            running = self._running = self._run_all()
            running.addCallback(self._done)
        return waiting

    def stop(self) -> None:
        """Cancel a run in progress."""
        if self._running is not None:
            self._running.cancel()

    def _run_all(self) -> Deferred[list[Finding]]:
        checks: dict[str, Callable[[], Any]] = {
            "ca": lambda: self._in_thread(self._ca),
            "clock": self._clock,
            "dns": lambda: network.check_dns(self._reactor, self._config, self._in_thread),
            "authorizer": lambda: network.check_authorizer(self._reactor, self._config, self._dry_run),
            "upstream": lambda: network.check_upstream(self._config, self._in_thread).addCallback(lambda pair: pair[0]),
            "descriptors": self._descriptors,
            "versions": lambda: self._in_thread(lambda: judgements.judge_versions(*machine.versions())),
        }
        return gatherResults([self._checked(name, checks[name]) for name in NAMES])

    def _done(self, findings: list[Finding]) -> None:
        self._running = None
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(findings)

    def _checked(self, name: str, check: Callable[[], Any]) -> Deferred[Finding]:
        """Make one check; an exception is a finding, too."""
        result: Deferred[Finding] = maybeDeferred(check)
        result.addTimeout(SECONDS, self._reactor)

        def failed(failure: Any) -> Finding:
            if failure.check(TookTooLong):
                return error(name, f"no result within {SECONDS:g} seconds")
            if failure.check(CancelledError):
                return error(name, "was stopped")
            return judgements.failed(name, failure.value)

        return result.addErrback(failed)

    def _ca(self) -> Finding:
        now = datetime.now(timezone.utc)
        return judgements.judge_ca(machine.ca_facts(self._config, now, None), now)

    @inlineCallbacks
    def _clock(self) -> Generator[Deferred[Any], Any, Finding]:
        ahead: dict[str, float | None] = dict((yield network.clock_of_authorizer(self._config, self._in_thread)))
        _, upstreams = yield network.check_upstream(self._config, self._in_thread)
        ahead.update(upstreams)
        known = {source: seconds for source, seconds in ahead.items() if seconds is not None}
        return judgements.judge_clock(known, None, datetime.now(timezone.utc))

    def _descriptors(self) -> Finding:
        limits = self._config.limits
        return judgements.judge_descriptors(machine.possible_connections(limits), limits.connections)
