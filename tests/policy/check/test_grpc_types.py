"""Tests for L{egress.policy.check.grpc_types}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.descriptors import Descriptors
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.parse.toml_reader import PolicyError
from tests.grpc.descriptor_sets import descriptor_set
from tests.policy.policies import parse

TYPES = Descriptors([descriptor_set()])


class TypesTests(SynchronousTestCase):
    """Conditions on fields that no message has."""

    def check(self, grpc: str, action: str = "allow", types: Descriptors | None = TYPES) -> str | None:
        """Return the error of a policy with one rule."""
        rules = parse(f"version = 1\n[[rules]]\nname = 'one'\naction = '{action}'\nreason = 'x'\ngrpc = {grpc}")
        try:
            self.assertIs(with_descriptors(rules, types).descriptors, types)
        except PolicyError as error:
            return error.reason.removeprefix("p.toml:2: rule one: grpc 'fields': ")
        return None

    def test_usable(self) -> None:
        for grpc in (
            "{ fields = { name = 'a' } }",
            "{ service = 'users.*', method = 'Get', fields = { 'manager.team[].id' = 1, 'tags[0]' = 'a' } }",
            "{ fields = { 'length(tags) > `2`' = true, 'labels.any' = 'x', 'no || name' = 'a' } }",
        ):
            self.assertIsNone(self.check(grpc), grpc)
        self.assertIsNone(self.check("{ method = 'A' }", types=None))
        self.assertIsNone(self.check("{ method = 'Chat', fields = { name = 'a' } }", "deny"))

    def test_message_rules(self) -> None:
        """The direction determines the type of the message."""
        for directions, fields, says in (
            ("", "name = 'a'", None),
            ("directions = ['origin']", "'manager.id' = 1", None),
            ("", "title = 'a'", "'title': no message of these methods has this field"),
            ("directions = ['client']", "title = 'a'", "'title': no request message of these methods has this field"),
        ):
            rule = "[[rules.messages.rules]]\naction = 'allow'\nkinds = ['sse']\n"
            rule += f"[[rules.messages.rules]]\naction = 'allow'\n{directions}\nfields = {{ {fields} }}"
            policy = f"version = 1\n[[rules]]\nname = 'one'\naction = 'allow'\n[rules.messages]\n{rule}"
            try:
                with_descriptors(parse(policy), TYPES)
                found = None
            except PolicyError as error:
                found = error.reason.removeprefix("p.toml:2: rule one: grpc 'fields': ")
            self.assertEqual(found, says)

    def test_errors(self) -> None:
        for grpc, says in (
            ("{ service = 'users', fields = { name = 'a' } }", "no method in --grpc-descriptors has this"),
            ("{ method = 'Chat', fields = { name = 'a' } }", "the client of this method streams, so an allow rule"),
            ("{ fields = { name = 'a', title = 'b' } }", "'title': no request message of these methods has this field"),
            ("{ fields = { 'team[].title' = 'b' } }", "'team[].title': no request message"),
        ):
            self.assertTrue(str(self.check(grpc)).startswith(says), self.check(grpc))
        self.assertEqual(
            self.check("{ fields = { name = 'a' } }", types=None),
            "needs the types of the messages; set --grpc-descriptors to a descriptor set of protoc",
        )
        self.assertIn("no request message", str(self.check("{ fields = { title = 'a' } }", "deny")))
