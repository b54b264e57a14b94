"""Tests for L{egress.policy.loaded_policy}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.loaded_policy import LoadedPolicy, texts_from_json, texts_to_json
from egress.policy.source_text import SourceText


class LoadedPolicyTests(SynchronousTestCase):
    """The exchange with other processes."""

    def test_json(self) -> None:
        policy = LoadedPolicy("policy p.toml", "d", 1.5)
        self.assertEqual(LoadedPolicy.from_json(json.loads(json.dumps(policy.to_json()))), policy)
        texts = (SourceText.of("a", "\u00e9" * 1000), SourceText.of("b", ""))
        self.assertEqual(texts_from_json(json.loads(json.dumps(texts_to_json(texts)))), texts)
