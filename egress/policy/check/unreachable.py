"""The detection of unreachable rules: an earlier rule decides every request that they match."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from egress.policy.match.hosts import AddressRange, AnyHost, HostName, HostTest
from egress.policy.rule import Rule


@attrs.define
class _Covered:
    """The hosts for which an earlier rule without further conditions decides, and that rule.

    @ivar everything: the rule for every host.
    """

    everything: Rule | None = None
    names: dict[tuple[str, int | None], Rule] = attrs.field(factory=dict)
    subdomains: dict[tuple[str, int | None], Rule] = attrs.field(factory=dict)
    others: dict[HostTest, Rule] = attrs.field(factory=dict)

    def add(self, rule: Rule) -> None:
        """Record the hosts of a rule."""
        if not rule.hosts or AnyHost() in rule.hosts:
            self.everything = self.everything or rule
        for test in rule.hosts:
            if isinstance(test, HostName):
                (self.subdomains if test.subdomains else self.names).setdefault((test.host, test.port), rule)
            else:
                self.others.setdefault(test, rule)

    def by(self, rule: Rule) -> Rule | None:
        """Return an earlier rule if the earlier rules cover all hosts of this rule; otherwise C{None}."""
        if self.everything is not None or not rule.hosts:
            return self.everything
        found = None
        for test in rule.hosts:
            found = self._by(test)
            if found is None:
                return None
        return found

    def _by(self, test: HostTest) -> Rule | None:
        if not isinstance(test, HostName):
            return self.others.get(test) or self._on_every_port(test)
        for port in (None, test.port):
            found = None if test.subdomains else self.names.get((test.host, port))
            found = found or (self.subdomains.get((test.host, port)) if test.subdomains else None)
            parent = test.host
            while found is None and "." in parent:
                parent = parent.partition(".")[2]
                found = self.subdomains.get((parent, port))
            if found is not None:
                return found
        return None

    def _on_every_port(self, test: HostTest) -> Rule | None:
        """Return the rule for the same addresses on every port."""
        return self.others.get(attrs.evolve(test, port=None)) if isinstance(test, AddressRange) else None


def unreachable_rules(rules: tuple[Rule, ...]) -> Iterator[tuple[Rule, Rule]]:
    """Yield each rule that certainly cannot decide, with an earlier rule that decides in its place."""
    covered = _Covered()
    for rule in rules:
        other = covered.by(rule)
        if other is not None:
            yield rule, other
        elif not (rule.ports or rule.port_ranges or rule.schemes or rule.methods or rule.paths or rule.conditions):
            covered.add(rule)
