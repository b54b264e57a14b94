"""The policy that decides the requests of a command, and the place of more rules in it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import attrs

from egress.policy.rule import DEFAULT_RULE
from egress.policy.rules import RuleSet


@attrs.frozen
class PolicySource:
    """The embedded policy of a proxy.

    @ivar file: the name of its file; C{None}: the starter policy, which has no file of the user.
    @ivar rules: the file and line of each rule, in the order of the rules.
    """

    file: str | None
    rules: Mapping[str, str]

    @classmethod
    def of(cls, file: Path | None, rules: RuleSet, directory: Path) -> PolicySource:
        """Describe a policy.

        @param directory: the names of files in it are relative.
        """
        start = f"{directory}{os.sep}"
        where = {rule.rule_id: rule.where.removeprefix(start) for rule in rules.rules}
        return cls(None if file is None else str(file).removeprefix(start), where)

    def name_of(self, rule_id: str) -> str:
        """Return a rule and its place, for a user."""
        if rule_id == DEFAULT_RULE:
            return f"{rule_id}, because no rule matches"
        if self.file is None:
            return f"{rule_id}, in the starter policy"
        return f"{rule_id} ({self.rules[rule_id]})" if self.rules.get(rule_id) else rule_id

    def instruction(self, denied_by: Collection[str]) -> str:
        """Return how to use rules that would allow denied requests: the first rule that matches decides.

        @param denied_by: the rules that denied them.
        """
        if self.file is None:
            return "To allow only this, review it, save it as policy.toml, and run again with --policy policy.toml:"
        first = next((rule_id for rule_id in self.rules if rule_id in denied_by), None)
        if first is None:
            return f"To allow this, review it, and add it to {self.file}:"
        return f"To allow this, review it, and add it before the rule {self.name_of(first)}:"

    def complete(self, rules: list[str]) -> str:
        """Return the text to add: a whole policy if the user has none."""
        return "\n\n".join(rules if self.file is not None else ["version = 1", *rules])
