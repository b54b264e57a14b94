"""The policies that the processes of a proxy use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from egress.admin.api import Unanswered
from egress.policy.loaded_policy import LoadedPolicy, texts_to_json
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText


class PolicyBackend(Protocol):
    """The policies that decide, independent of the number of processes."""

    def in_use(self) -> Deferred[list[LoadedPolicy]]:
        """Return the policy of each process; an empty list if something else decides."""

    def texts(self, digest: str) -> Deferred[tuple[SourceText, ...]]:
        """Return the texts of a policy that is in use.

        @param digest: its digest.
        @return: fires with them, the main one first; fails with L{Unanswered} if no process uses the policy any more.
        """


class LocalPolicies:
    """The policy of this process (L{PolicyBackend}), which the supervisor can query over a channel.

    @param source: returns the policy, and the time at which it was loaded; C{None} if something else decides.
    """

    def __init__(self, source: Callable[[], tuple[RuleSet, float] | None]) -> None:
        self._source = source

    def _current(self) -> list[tuple[RuleSet, LoadedPolicy]]:
        found = self._source()
        if found is None:
            return []
        rules, loaded = found
        return [(rules, LoadedPolicy(rules.name, rules.digest, loaded))]

    def in_use(self) -> Deferred[list[LoadedPolicy]]:
        """Return the policy; see L{PolicyBackend.in_use}."""
        return succeed([loaded for _, loaded in self._current()])

    def texts(self, digest: str) -> Deferred[tuple[SourceText, ...]]:
        """Return the texts of the policy; see L{PolicyBackend.texts}."""
        for rules, loaded in self._current():
            if loaded.digest == digest:
                return succeed(rules.texts)
        return fail(Unanswered("the policy was replaced: reload the page"))

    # -- requests of the supervisor

    def in_use_for_parent(self) -> list[dict[str, object]]:
        """Return the policy for the supervisor."""
        return [loaded.to_json() for _, loaded in self._current()]

    def texts_for_parent(self, digest: str) -> list[list[str]] | None:
        """Return the texts of the policy for the supervisor; C{None} if another policy is in use."""
        return next((texts_to_json(rules.texts) for rules, loaded in self._current() if loaded.digest == digest), None)
