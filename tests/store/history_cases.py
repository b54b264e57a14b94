"""Steps of tests about the history of policies, which are the same for each kind of database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

from egress.model.policy_use import PolicyUse
from egress.policy.loaded_policy import texts_from_json, use_of
from egress.policy.parse.load import parse_policy
from egress.store import policy_history

POLICY = 'version = 1\n[[rules]]\nname = "{}"\naction = "allow"\n'


def use(name: str, time: float, source: str = "/etc/policy.toml", author: str = "") -> PolicyUse:
    """Make an entry of a policy with one rule."""
    found = use_of(parse_policy(POLICY.format(name), source, "policy"), time, source, author)
    assert found is not None
    return found


class HistoryCases:
    """The history of policies: a part of test cases.

    @ivar store: the store, which C{setUp} creates; it is empty.
    @ivar open: opens the same store with another connection.
    @cvar node: the name of the machine in entries.
    """

    store: Any
    open: Callable[..., Any]
    node = ""

    @property
    def case(self) -> Any:
        """The test case."""
        return self

    def history(self) -> list[tuple[float, str, str, str]]:
        """Return the time, the rule, the source and the author of each entry, the newest first."""
        found = []
        for each in self.store.policy_uses(100):
            self.case.assertEqual(each.node, self.node)
            texts = texts_from_json(json.loads(self.store.policy_texts(each.digest)))
            (rule,) = parse_policy(texts[0].text, "p", "p").rules
            self.case.assertTrue(each.digest.startswith(each.version))
            found.append((each.time, rule.rule_id, each.source, each.author))
        return found

    def test_history(self) -> None:
        """A machine adds an entry when it uses another policy than before, also an earlier one."""
        file = "/etc/policy.toml"
        self.store.record_policies([use("a", 1.5)])
        self.open().record_policies([use("a", 2.5), use("b", 3.25)])
        self.store.record_policies([use("b", 4), use("b", 3.5, "console", "alice"), use("a", 5)])
        expected = [(5, "a", file, ""), (3.5, "b", "console", "alice"), (3.25, "b", file, ""), (1.5, "a", file, "")]
        self.case.assertEqual(self.history(), expected)
        self.case.assertEqual([each.time for each in self.store.policy_uses(2)], [5, 3.5])
        self.case.assertIsNone(self.store.policy_texts("x"))

    def test_repeated_batch(self) -> None:
        """A batch whose result is unknown is written again."""
        batch = [use("a", 1), use("b", 2), use("a", 3)]
        self.store.record_policies(batch)
        before = self.history()
        self.store.record_policies(batch)
        self.case.assertEqual(self.history(), before)

    def test_limit(self) -> None:
        """The oldest entries are deleted with their texts."""
        with mock.patch.object(policy_history, "MAX_ENTRIES", 2):
            for number in range(5):
                self.store.record_policies([use(f"r{number}", number)])
        self.case.assertEqual([each[1] for each in self.history()], ["r4", "r3"])
        self.case.assertEqual(self.store.rows("SELECT count(*) FROM policies")[0][0], 2)
