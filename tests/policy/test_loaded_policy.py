"""Tests for L{egress.policy.loaded_policy}."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.loaded_policy import LoadedPolicy, texts_from_json, texts_to_json, use_of
from egress.policy.parse.load import load_starter, no_policy
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText


class LoadedPolicyTests(SynchronousTestCase):
    """The exchange with other processes."""

    def test_json(self) -> None:
        policy = LoadedPolicy("policy p.toml", "d", 1.5)
        self.assertEqual(LoadedPolicy.from_json(json.loads(json.dumps(policy.to_json()))), policy)
        texts = (SourceText.of("a", "\u00e9" * 1000), SourceText.of("b", ""))
        self.assertEqual(texts_from_json(json.loads(json.dumps(texts_to_json(texts)))), texts)

    def test_use(self) -> None:
        """A policy with a text has an entry in the history, whatever the name of its file is."""
        rules = load_starter()
        found = use_of(rules, 1.5, "/p\udcff", "alice")
        assert found is not None
        self.assertEqual((found.version, found.digest), (rules.policy_version, rules.digest))
        self.assertEqual((found.time, found.source, found.author), (1.5, "/p\\udcff", "alice"))
        self.assertEqual(texts_from_json(json.loads(found.texts)), rules.texts)
        for other in (RuleSet("policy test", ()), no_policy("https://policies.test/p", Path("p"))):
            self.assertIsNone(use_of(other, 1.5, "x"))
