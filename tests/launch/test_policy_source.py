"""Tests for L{egress.launch.policy_source}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.policy_source import PolicySource
from egress.policy.parse.load import load_policy, load_starter, parse_policy
from tests.files import make_directory

POLICY = """version = 1
[[rules]]
name = "closed"
action = "deny"
reason = "it is closed"
paths = ["/closed/**"]
[[rules]]
name = "late"
action = "deny"
reason = "it is late"
paths = ["/late/**"]
"""


class PolicySourceTests(SynchronousTestCase):
    """The place of more rules in a policy."""

    def setUp(self) -> None:
        directory = make_directory(self)
        self.path = directory / "policy.toml"
        self.path.write_text(POLICY)
        self.source = PolicySource.of(self.path, load_policy(self.path), directory)

    def test_names(self) -> None:
        """They are relative to the working directory."""
        self.assertEqual(self.source.name_of("closed"), "closed (policy.toml:2)")
        self.assertEqual(self.source.name_of("default"), "default, because no rule matches")
        self.assertEqual(self.source.name_of("unknown"), "unknown")
        elsewhere = PolicySource.of(self.path, load_policy(self.path), Path("/other"))
        self.assertEqual(elsewhere.name_of("closed"), f"closed ({self.path}:2)")

    def test_instruction(self) -> None:
        """The first rule that matches decides, so a rule that allows must precede those that deny."""
        end = "To allow this, review it, and add it to policy.toml:"
        self.assertEqual(self.source.instruction({"default"}), end)
        before = "To allow this, review it, and add it before the rule closed (policy.toml:2):"
        self.assertEqual(self.source.instruction({"late", "default", "closed"}), before)
        self.assertEqual(self.source.complete(["[[rules]]", "[[rules]]"]), "[[rules]]\n\n[[rules]]")

    def test_starter_policy(self) -> None:
        """The user has no file to add it to."""
        source = PolicySource.of(None, load_starter(), Path("/"))
        self.assertEqual(source.name_of("blocked-example"), "blocked-example, in the starter policy")
        self.assertIn("run again with --policy policy.toml", source.instruction({"blocked-example"}))
        rule = '[[rules]]\naction = "allow"\nhosts = ["a.test"]'
        self.assertEqual(len(parse_policy(source.complete([rule]), "p.toml", "p").rules), 1)
