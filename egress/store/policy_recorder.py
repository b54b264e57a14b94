"""The entries that a process adds to the history of policies."""

from __future__ import annotations

import time
from collections.abc import Callable

from egress.model.policy_use import PolicyUse
from egress.policy.loaded_policy import use_of
from egress.policy.rules import RuleSet
from egress.store.sink import StoreAudit


class PolicyRecorder:
    """Adds entries, if there is an audit store.

    @param source: the file or the URL of the policy; C{None}: the starter policy.
    @param sink: the sink of the audit store, if there is one.
    @param now: returns the seconds since the epoch.
    """

    def __init__(self, source: object, sink: StoreAudit | None, now: Callable[[], float] = time.time) -> None:
        self._source = "starter policy" if source is None else str(source)
        self._sink = sink
        self._now = now
        self._last: str | None = None

    def write(self, use: PolicyUse) -> None:
        """Add an entry."""
        if self._sink is not None:
            self._sink.write_policy(use)

    def used(self, rules: RuleSet | None) -> None:
        """Add an entry for a policy that comes into use, unless it is in use; C{None}: something else decides."""
        use = None if rules is None else use_of(rules, self._now(), self._source)
        if use is not None and use.version != self._last:
            self._last = use.version
            self.write(use)
