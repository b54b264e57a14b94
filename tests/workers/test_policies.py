"""Tests for L{egress.workers.policies}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.policy.loaded_policy import LoadedPolicy, texts_to_json
from egress.policy.source_text import SourceText
from egress.workers.policies import WorkerPolicies
from tests.workers.test_admin_backend import FakeSlot

OLD, NEW = LoadedPolicy("p", "old", 1.0), LoadedPolicy("p", "new", 2.0)
TEXTS = (SourceText.of("p.toml", "version = 1\n"),)


class WorkerPoliciesTests(SynchronousTestCase):
    """The policies of two workers, which can differ while they reload."""

    def setUp(self) -> None:
        self.slots = [FakeSlot("1"), FakeSlot("2")]
        self.policies = WorkerPolicies(lambda: self.slots)  # type: ignore[arg-type, return-value]

    def say(self, what: str, first: Any, second: Any) -> None:
        self.slots[0].answers[what], self.slots[1].answers[what] = first, second

    def test_in_use(self) -> None:
        self.say("policies", [OLD.to_json()], [NEW.to_json()])
        self.assertEqual(self.successResultOf(self.policies.in_use()), [OLD, NEW])
        self.say("policies", TimeoutError(), [NEW.to_json()])
        self.assertEqual(self.successResultOf(self.policies.in_use()), [NEW])
        self.say("policies", [], [])
        self.assertEqual(self.successResultOf(self.policies.in_use()), [])

    def test_texts(self) -> None:
        self.say("policy-texts", None, texts_to_json(TEXTS))
        self.assertEqual(self.successResultOf(self.policies.texts("new")), TEXTS)
        self.assertEqual(self.slots[0].asked, [("policy-texts", "new")])
        self.say("policy-texts", None, TimeoutError())
        self.failureResultOf(self.policies.texts("new"), Unanswered)
