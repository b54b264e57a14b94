"""Tests for L{egress.policy.match.grpc_calls}."""

from __future__ import annotations

from typing import Any

from egress.authz.cache_key import known_parts
from egress.grpc.call import CALL_ATTRIBUTES
from egress.model.decision import Verdict
from egress.policy.match.grpc_calls import GrpcCalls
from tests.policy.policies import PolicyTestCase, parse, request

URL = "https://a.test/users.v1.Users/Get"
GRPC = [("Content-Type", "application/grpc")]


class GrpcConditionTests(PolicyTestCase):
    """The condition in a permission and in a denial."""

    def verdicts(self, condition: str, url: str = URL, method: str = "POST", **given: Any) -> str:
        """Return whether a permission and a denial match."""
        found = []
        for action, default in (("allow", "deny"), ("deny", "allow")):
            policy = parse(
                f"version = 1\ndefault = '{default}'\n[[rules]]\naction = '{action}'\nreason = 'x'\ngrpc = {condition}"
            )
            decision = policy.decide(request(method, url, **{"headers": GRPC, **given}))
            found.append("no" if decision.rule_id == "default" else "yes")
        return " ".join(found)

    YES, NO, MAYBE = "yes yes", "no no", "no yes"

    def test_names(self) -> None:
        for condition, expected in (
            ("{ service = 'users.v1.Users', method = 'Get' }", self.YES),
            ("{ service = 'users.v1.Users' }", self.YES),
            ("{ method = 'Get' }", self.YES),
            ("{ service = '*' }", self.YES),
            ("{ service = 'users.*', method = ['List', 'Get'] }", self.YES),
            ("{ service = ['a.A', 're:users\\.v[0-9]\\.Users'] }", self.YES),
            ("{ service = 'users.v1.Users', method = 'List' }", self.NO),
            ("{ service = 'Users' }", self.NO),
            ("{ service = 'users.v1' }", self.NO),
            ("{ method = 'Get*', service = 'other' }", self.NO),
            # Denials ignore case.
            ("{ service = 'USERS.v1.users', method = 'get' }", self.MAYBE),
        ):
            with self.subTest(condition):
                self.assertEqual(self.verdicts(condition), expected)

    def test_requests_that_are_not_grpc(self) -> None:
        for headers in ([], [("Content-Type", "application/json")], [("Content-Type", "application/x-protobuf")]):
            self.assertEqual(self.verdicts("{ service = '*' }", headers=headers), self.NO)

    def test_web(self) -> None:
        for kind in ("application/grpc-web", "application/grpc-web-text+proto", "APPLICATION/grpc+json; a=b"):
            self.assertEqual(self.verdicts("{ method = 'Get' }", headers=[("Content-Type", kind)]), self.YES)

    def test_requests_that_some_servers_read_as_calls(self) -> None:
        condition = "{ service = 'admin.Admin' }"
        for url in (f"{URL}?a", "https://a.test/a/users.v1.Users/Get", "https://a.test//users.v1.Users/G%65t"):
            self.assertEqual(self.verdicts(condition, url), self.MAYBE)
        self.assertEqual(self.verdicts(condition, method="PUT"), self.MAYBE)
        self.assertEqual(self.verdicts(condition, headers=[*GRPC, *GRPC]), self.MAYBE)
        self.assertEqual(self.verdicts(condition, headers=[("Content_Type", "application/grpc")]), self.MAYBE)
        self.assertEqual(
            self.verdicts(condition, headers=[("Content-Type", "text/plain, application/grpc")]), self.MAYBE
        )

    def test_tunnels(self) -> None:
        """A tunnel can contain any call."""
        self.assertEqual(self.verdicts("{ service = '*' }", "https://a.test:443", "CONNECT", headers=[]), self.MAYBE)

    def test_work(self) -> None:
        name = "a" * 250
        condition = f"{{ service = {[f're:{index}' for index in range(9000)]} }}"
        policy = parse(f"version = 1\n[[rules]]\nname = 'one'\naction = 'allow'\ngrpc = {condition}")
        decision = policy.decide(request("POST", f"https://a.test/{name}/{name}", headers=GRPC))
        self.assertIs(decision.verdict, Verdict.DENY)
        self.assertIn("its gRPC method has a long name", decision.reason)

    def test_dependencies(self) -> None:
        condition = GrpcCalls((), ())
        self.assertEqual(condition.depends_on, CALL_ATTRIBUTES)
        self.assertIsNotNone(known_parts(condition.depends_on))
        self.assertEqual(condition.stable_for(0.0), float("inf"))
        self.assertFalse(condition.is_seen)
