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
                "action = 'allow'\ngrpc = { fields = 1 }": (
                    "6: rule 2: grpc 'fields': write a table of expressions and values"
                ),
                "action = 'allow'\ngrpc = { fields = {} }": (
                    "6: rule 2: grpc 'fields': write a table of expressions and values"
                ),
                "action = 'allow'\ngrpc = { fields = { a = [] } }": (
                    "6: rule 2: grpc field 'a': is empty and would match nothing"
                ),
                "action = 'allow'\ngrpc = { fields = { a = {} } }": (
                    "6: rule 2: grpc field 'a': write a string, a number, true or false, or a list of these"
                ),
                "action = 'allow'\ngrpc = { fields = { 'a[' = 1 } }": (
                    "6: rule 2: grpc field 'a[': is not a JMESPath expression: Invalid jmespath expression: Incomplete "
                    'expression: "a[" ^'
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

    def test_fields_come_last(self) -> None:
        """The content is requested only if all other conditions match."""
        conditions = "grpc = { fields = { a = 1 } }\nmax_body = 9\nheaders = { A = true }"
        (rule,) = parse(f"version = 1\n[[rules]]\naction = 'allow'\n{conditions}").rules
        self.assertEqual([one.key for one in rule.conditions], ["headers", "grpc", "max_body", "grpc.fields"])

    def test_variables(self) -> None:
        policy = parse(
            "version = 1\n[variables]\nv = 'v1'\n[[rules]]\naction = 'allow'\ngrpc = { service = 'users.${v}.Users' }"
        )
        (condition,) = policy.rules[0].conditions
        assert isinstance(condition, GrpcCalls)
        self.assertTrue(condition.services[0]("users.v1.Users"))
