"""Tests for L{egress.admin.policies}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.admin.policies import LocalPolicies
from egress.policy.loaded_policy import LoadedPolicy, texts_from_json
from tests.policy.policies import parse

RULES = parse('version = 1\n[[rules]]\naction = "allow"\n')


class LocalPoliciesTests(SynchronousTestCase):
    """The policy of one process."""

    def test_in_use(self) -> None:
        policies = LocalPolicies(lambda: (RULES, 12.5))
        expected = LoadedPolicy("policy p.toml", RULES.digest, 12.5)
        self.assertEqual(self.successResultOf(policies.in_use()), [expected])
        self.assertEqual(policies.in_use_for_parent(), [expected.to_json()])

    def test_texts(self) -> None:
        policies = LocalPolicies(lambda: (RULES, 12.5))
        self.assertEqual(self.successResultOf(policies.texts(RULES.digest)), RULES.texts)
        found = policies.texts_for_parent(RULES.digest)
        assert found is not None
        self.assertEqual(texts_from_json(found), RULES.texts)
        self.failureResultOf(policies.texts("other"), Unanswered)
        self.assertIsNone(policies.texts_for_parent("other"))

    def test_without_a_policy(self) -> None:
        policies = LocalPolicies(lambda: None)
        self.assertEqual((self.successResultOf(policies.in_use()), policies.in_use_for_parent()), ([], []))
        self.failureResultOf(policies.texts(RULES.digest), Unanswered)
