"""The composition of the distribution of policies, for the process that checks the URLs and for workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from egress.authz.distribution.client import PolicyClient
from egress.authz.distribution.metrics import CheckStats
from egress.authz.distribution.poller import PolicyPoller
from egress.authz.distribution.status import PolicyStatus
from egress.authz.distribution.store import PolicyIntake, PolicyStore
from egress.model.errors import AuthorizerUnavailable
from egress.model.policy_url import PolicyUrl
from egress.observability.health import Check

if TYPE_CHECKING:
    from egress.policy.rules import RuleSet
    from egress.runtime.threads import Offload
    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.transport.reactor import IEgressReactor
    from egress.upstream.resolver import Resolver


class DistributionSettings(Protocol):
    """The settings of a program that loads policies from URLs."""

    @property
    def policy_interval(self) -> float:
        """The seconds between two checks."""

    @property
    def policy_token_file(self) -> Path | None:
        """The file with the bearer token for the server."""

    @property
    def policy_max_age(self) -> float | None:
        """The seconds after the last successful check for which a policy is used."""

    @property
    def policy_cache(self) -> Path:
        """The directory for the last good version of a policy URL."""


@attrs.frozen(kw_only=True)
class DistributedPolicy:
    """A policy with a URL.

    @ivar label: its name in metrics.
    @ivar name: its name in the log.
    @ivar url: the URL.
    @ivar parse: verifies and parses its content; raises C{ValueError} with the reason if it is not valid.
    @ivar rules: returns the rules in use.
    @ivar changed: is called when there is another version, in each process.
    """

    label: str
    name: str
    url: PolicyUrl
    parse: Callable[[bytes], RuleSet]
    rules: Callable[[], RuleSet | None]
    changed: Callable[[], object] = lambda: None


@attrs.frozen(kw_only=True)
class ServerRoute:
    """How the servers of policies are connected to.

    @ivar trust: the trust for C{https} URLs.
    @ivar resolver: resolves the names of servers.
    @ivar in_thread: runs blocking calls in a thread.
    """

    trust: ReloadableTrust
    resolver: Resolver
    in_thread: Offload


class PolicyDistribution:
    """The policies with a URL in one process, if there are any.

    @param reactor: the reactor.
    @param settings: the settings.
    @param policies: the policies that have a URL.
    @param route: how their servers are connected to; C{None}: another process checks the URLs.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        settings: DistributionSettings,
        policies: list[DistributedPolicy],
        route: ServerRoute | None,
    ) -> None:
        self._statuses: dict[str, PolicyStatus] = {}
        self._pollers: dict[str, PolicyPoller] = {}
        self._intakes: list[PolicyIntake] = []
        for policy in policies:
            store = PolicyStore(settings.policy_cache, policy.url)
            status = PolicyStatus(
                reactor,
                policy.name,
                store,
                max_age=settings.policy_max_age,
                is_loaded=_is_loaded(policy),
                now=time.time,
                changed=policy.changed,
            )
            self._statuses[policy.label] = status
            if route is None:
                continue
            intake = PolicyIntake(store, policy.parse, time.time)
            self._intakes.append(intake)
            self._pollers[policy.label] = PolicyPoller(
                reactor,
                policy.name,
                PolicyClient(reactor, policy.url, route.trust, route.resolver),
                intake,
                route.in_thread,
                interval=settings.policy_interval,
                token_file=settings.policy_token_file,
                jitter=random,
                checked=status.refresh,
            )

    def add_check(self, checks: dict[str, Check]) -> None:
        """Add the readiness check of the policies, if one has a URL."""
        if self._statuses:
            checks["policy"] = self.check

    def fault(self, label: str) -> Callable[[], str | None] | None:
        """Return the function that tells why a policy may not be used; C{None} if it has no URL."""
        status = self._statuses.get(label)
        return None if status is None else status.fault

    def check(self) -> Deferred[str | None]:
        """Run the readiness check.

        @return: fires with a note if checks failed; fails if a policy may not be used.
        """
        notes = []
        for status in self._statuses.values():
            fault, note = status.fault(), status.note()
            if fault is not None:
                return fail(AuthorizerUnavailable(": ".join(filter(None, (fault, note)))))
            notes.append(note)
        return succeed("; ".join(filter(None, notes)) or None)

    def start(self) -> None:
        """Start to check the URLs, or to read the results of the process that checks them."""
        for status in self._statuses.values():
            status.start()
        for poller in self._pollers.values():
            poller.start()

    def stop(self) -> None:
        """Stop."""
        for poller in self._pollers.values():
            poller.stop()
        for status in self._statuses.values():
            status.stop()

    def forget(self) -> None:
        """Verify the stored policies again at the next check, because files of the configuration were read again."""
        for intake in self._intakes:
            intake.forget()

    def stats(self) -> dict[str, CheckStats]:
        """Return the checks of each policy that this process checks."""
        return {
            label: CheckStats(poller.results, self._statuses[label].checked) for label, poller in self._pollers.items()
        }


def _is_loaded(policy: DistributedPolicy) -> Callable[[], bool]:
    def is_loaded() -> bool:
        rules = policy.rules()
        return rules is not None and rules.is_loaded

    return is_loaded
