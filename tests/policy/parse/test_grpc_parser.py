"""Tests for L{egress.policy.parse.grpc_parser}."""

from __future__ import annotations

from egress.policy.match.grpc_calls import GrpcCalls
from tests.policy.policies import PolicyTestCase, parse


class GrpcTableTests(PolicyTestCase):
    """The parsing of the table C{grpc}."""

    def test_errors(self) -> None:
        self.refuses_rules(
            {
                "action = 'allow'\ngrpc = {}": "6: rule 2: 'grpc' is empty and would have no effect; remove it",
                "action = 'allow'\ngrpc = true": "6: rule 2: 'grpc' must be a table",
                "action = 'allow'\ngrpc = { services = 'a' }": (
                    "6: rule 2: grpc 'services': is not known here; did you mean 'service'?"
                ),
                "action = 'allow'\ngrpc = { service = 1 }": (
                    "6: rule 2: grpc 'service': write a pattern, or a list of patterns"
                ),
                "action = 'allow'\ngrpc = { method = [] }": (
                    "6: rule 2: grpc 'method': write a pattern, or a list of patterns"
                ),
                "action = 'allow'\ngrpc = { service = 'a.B/C' }": (
                    "6: rule 2: grpc 'service', 'a.B/C': contains a slash; "
                    'write service = "package.Service" and method = "Method"'
                ),
                "action = 'allow'\ngrpc = { method = 're:(' }": (
                    "6: rule 2: grpc 'method', 're:(': is not a regular expression of RE2: missing ): ("
                ),
                "action = 'allow'\nmethods = ['CONNECT']\ngrpc = { method = 'A' }": (
                    "6: rule 2: 'grpc' cannot match a tunnel; use a rule without it for CONNECT"
                ),
            }
        )

    def test_patterns(self) -> None:
        (rule,) = parse("version = 1\n[[rules]]\naction = 'allow'\ngrpc = { service = ['a', 're:b/?'] }").rules
        (condition,) = rule.conditions
        assert isinstance(condition, GrpcCalls)
        self.assertEqual((len(condition.services), condition.methods, condition.key), (2, (), "grpc"))

    def test_variables(self) -> None:
        policy = parse(
            "version = 1\n[variables]\nv = 'v1'\n[[rules]]\naction = 'allow'\ngrpc = { service = 'users.${v}.Users' }"
        )
        (condition,) = policy.rules[0].conditions
        assert isinstance(condition, GrpcCalls)
        self.assertTrue(condition.services[0]("users.v1.Users"))
