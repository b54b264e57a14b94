"""Tests for L{egress.console.policy_view}."""

from __future__ import annotations

import attrs

from egress.console import policy_view as module
from egress.console.policy_reader import FilePolicy, PolicyState
from egress.console.policy_view import TIMES, PolicyView, policy_view, time_of
from egress.policy.loaded_policy import LoadedPolicy
from egress.policy.parse.load import load_policy
from egress.policy.rule_words import rules_in_words
from egress.store.interfaces import RuleUse
from tests.console.browser import NOW
from tests.console.policies import POLICY, PolicyConsoleTestCase


class PolicyViewTests(PolicyConsoleTestCase):
    """The rows, and the state of the files."""

    def state(self) -> PolicyState:
        rules = load_policy(self.path)
        loaded = LoadedPolicy(rules.name, rules.digest, NOW - 90)
        return PolicyState(in_use=(loaded,), rules=rules, words=rules_in_words(rules))

    def view(self, state: PolicyState | None = None, *, only_unused: bool = False, **uses: RuleUse) -> PolicyView:
        return policy_view(state or self.state(), uses, NOW, only_unused=only_unused)

    def test_rows(self) -> None:
        view = self.view(shop=RuleUse(3, NOW - 5), default=RuleUse(2, NOW - 9), other=RuleUse(1, NOW))
        self.assertEqual(
            [(row.number, row.id, row.kind, row.file, row.line, row.matches, row.last) for row in view.rows],
            [
                (1, "shop", "good", "policy.toml", 4, 3, "5.0 s ago"),
                (2, "no-deletes", "bad", "policy.toml", 11, 0, ""),
                (3, "unused", "info", "policy.toml", 17, 0, ""),
            ],
        )
        self.assertEqual((view.unused, view.default, view.default_use.matches), (2, "deny", 2))
        self.assertEqual(view.others, (("other", 1, "0.0 s ago"),))
        self.assertEqual((view.state, view.error, view.processes, view.loaded), ("same", "", "", "90 s ago"))
        self.assertEqual(
            [row.id for row in self.view(only_unused=True, shop=RuleUse(1, NOW)).rows], ["no-deletes", "unused"]
        )

    def test_unknown_uses(self) -> None:
        view = policy_view(self.state(), None, NOW)
        self.assertIsNone(view.unused)
        self.assertEqual({row.matches for row in (*view.rows, view.default_use)}, {None})

    def test_bounds(self) -> None:
        self.patch(module, "MAX_ROWS", 2)
        first = self.view()
        self.assertEqual((len(first.rows), first.earlier, first.later, first.unused), (2, None, 2, 3))
        second = policy_view(self.state(), {}, NOW, start=2)
        self.assertEqual(([row.number for row in second.rows], second.earlier, second.later), ([3], 0, None))

    def test_files(self) -> None:
        state = self.state()
        self.assertEqual(self.view(attrs.evolve(state, changed=FilePolicy(state.rules))).state, "changed")
        invalid = self.view(attrs.evolve(state, changed=FilePolicy(None, "p.toml:1: no")))
        self.assertEqual((invalid.state, invalid.error), ("invalid", "p.toml:1: no"))
        self.write('version = 1\n[[rules]]\nname = "part"\naction = "allow"\n', "part.toml")
        self.write(POLICY.replace("version = 1\n", 'version = 1\ninclude = ["part.toml"]\n'))
        view = self.view()
        self.assertEqual([name for name, _ in view.files], ["policy.toml", "part.toml"])
        self.assertEqual((view.rows[0].file, view.rows[1].file), ("part.toml", "policy.toml"))

    def test_workers(self) -> None:
        state = self.state()
        other = LoadedPolicy("p", "x", NOW)
        same = self.view(attrs.evolve(state, in_use=state.in_use * 2))
        self.assertEqual((same.processes, same.is_partial), ("2 of 2 workers", False))
        partial = self.view(attrs.evolve(state, in_use=(*state.in_use, other)))
        self.assertEqual((partial.processes, partial.is_partial), ("1 of 2 workers", True))

    def test_times(self) -> None:
        self.assertEqual(time_of("7d"), TIMES[2])
        self.assertEqual(time_of("x"), time_of("24h"))
