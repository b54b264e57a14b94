"""Tests for L{egress.policy.trace}."""

from __future__ import annotations

from typing import Any

from egress.model.decision import Verdict
from egress.policy.rules import RuleSet
from tests.policy.policies import PolicyTestCase, parse, request

PATH = "its path contains %2F, which servers read in different ways"
CODED = "its content is not complete, valid gzip (send it without Content-Encoding)"
JSON = ("Content-Type", "application/json")
GZIP = ("Content-Encoding", "gzip")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
ON_FORM = "form = { a = 'x' }"
ON_JSON = "json = { a = 'x' }"


class DoubtTests(PolicyTestCase):
    """A reason names the ambiguous part of a request if it determines the result."""

    def policy(self, condition: str, action: str, default: str = "deny") -> RuleSet:
        """Return a policy with one rule, whose reason is "why"."""
        rule = f"[[rules]]\nname = 'one'\naction = '{action}'\nreason = 'why'\n{condition}"
        return parse(f"version = 1\ndefault = '{default}'\n{rule}")

    # A condition, an ambiguous request, and the reason.
    CASES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("paths = ['/a/b']", "GET http://a.test/a%2fb", {}, PATH),
        ("paths = ['/b/**']", "GET http://a.test/b/../c", {}, "contains . or .. as a segment"),
        (ON_JSON, "PUT http://a.test/", {"headers": [JSON, GZIP], "body": b"?"}, CODED),
        (ON_JSON, "PUT http://a.test/", {"body": b'{"a":"x"}'}, "it has no Content-Type, and servers"),
        (ON_JSON, "PUT http://a.test/", {"headers": [JSON], "body": b"hunter2"}, "not JSON that all servers"),
        (
            ON_JSON,
            "PUT http://a.test/",
            {"headers": [JSON], "body": b"{", "body_truncated": True},
            "only the beginning",
        ),
        (ON_JSON, "PUT http://a.test/", {"content_length": 7}, "its content is unknown"),
        (ON_FORM, "PUT http://a.test/", {"headers": [FORM, GZIP], "body": b"?"}, CODED),
        (ON_FORM, "PUT http://a.test/", {"headers": [JSON], "body": b"hunter2"}, "not that of a form"),
        (ON_FORM, "PUT http://a.test/", {"headers": [FORM], "body": b"hunter2=\xff"}, "its form is not UTF-8"),
    )

    def test_grpc(self) -> None:
        """A denial by default names the gRPC method, if a rule depends on it."""
        policy = self.policy("grpc = { service = 'a.B', method = 'C' }", "allow")
        kind = ("Content-Type", "application/grpc")
        for url, headers, reason in (
            ("http://a.test/a.B/D", [kind], "no rule allows the gRPC method a.B/D of http://a.test"),
            ("http://a.test/a.B/D", [], "no rule allows POST http://a.test"),
            (
                "http://a.test/a.B/C?x",
                [kind],
                "no rule allows POST http://a.test; only some servers read it as a gRPC call, so the rule one does "
                "not allow it",
            ),
        ):
            self.assertEqual(policy.decide(request("POST", url, headers=headers)).reason, reason)
        other = self.policy("headers = { A = true }", "allow")
        reason = other.decide(request("POST", "http://a.test/a.B/D", headers=[kind])).reason
        self.assertEqual(reason, "no rule allows POST http://a.test")

    def test_permission(self) -> None:
        for condition, url, given, doubt in self.CASES:
            with self.subTest(condition, url=url):
                policy, authz_request = self.policy(condition, "allow"), request(*url.split(" "), **given)
                decision = policy.decide(authz_request)
                self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, "default"))
                self.assertTrue(
                    decision.reason.startswith(f"no rule allows {url[:3]} http://a.test; "), decision.reason
                )
                self.assertIn(doubt, decision.reason)
                self.assertTrue(decision.reason.endswith(", so the rule one does not allow it"), decision.reason)
                self.assertNotIn("hunter2", decision.reason)
                first, last = policy.trace(authz_request)
                self.assertEqual((first.failed, last.doubt), (condition.partition(" ")[0], None))
                self.assertIn(first.doubt or "none", decision.reason)

    def test_denial(self) -> None:
        for condition, url, given, doubt in self.CASES:
            if condition == "paths = ['/b/**']":
                # The literal interpretation is denied, too.
                continue
            for action, does in (("deny", "denies it"), ("ask", "requires approval")):
                with self.subTest(condition, url=url, action=action):
                    policy, authz_request = self.policy(condition, action, "allow"), request(*url.split(" "), **given)
                    decision = policy.decide(authz_request)
                    self.assertEqual(decision.rule_id, "one")
                    self.assertTrue(decision.reason.startswith("why; "), decision.reason)
                    self.assertIn(doubt, decision.reason)
                    self.assertTrue(decision.reason.endswith(f", so the rule one {does}"), decision.reason)
                    (only,) = policy.trace(authz_request)
                    self.assertIn(only.doubt or "none", decision.reason)

    def test_ambiguous_names_and_values(self) -> None:
        """Servers interpret some names and values differently."""
        for condition, given, doubt in (
            ("query = { admin = false }", {}, "its query has names or values"),
            ("headers = { X-A = false }", {"headers": [("X_A", "1")]}, "its fields have names or values"),
        ):
            decision = self.policy(condition, "allow").decide(request("GET", "http://a.test/?[admin]=1", **given))
            self.assertIn(f"; {doubt} which servers read in different ways, so the rule one", decision.reason)
        # The name is that of the policy, and never that of the request.
        authz_request = request("POST", "http://a.test/", headers=[FORM], body=b"b=1&a=hunter2&a=x")
        decision = self.policy("form = { b = '1', a = 'x' }", "allow").decide(authz_request)
        doubt = "its form has names or values for the field 'a' which servers read in different ways"
        self.assertIn(f"; {doubt}, so the rule one", decision.reason)
        self.assertNotIn("hunter2", decision.reason)

    def test_certain_results(self) -> None:
        """A certain result has no explanation."""
        for action in ("allow", "deny"):
            for condition, url, given in (
                ("paths = ['/x']", "GET http://a.test/y", {}),
                ("paths = ['/x']", "GET http://a.test/a%2fb", {}),
                ("paths = ['/x']\nmethods = ['PUT']", "GET http://a.test/x%2f", {}),
                (ON_JSON, "PUT http://a.test/", {"headers": [JSON], "body": b'{"a":"y"}'}),
                (f"{ON_JSON}\nclients = ['ci']", "PUT http://a.test/", {"body": b"?"}),
                (ON_FORM, "PUT http://a.test/", {"headers": [FORM], "body": b"a=y"}),
                ("times = ['mon']", "GET http://a.test/", {}),
                ("", "GET http://a.test/a%2fb", {}),
                ("paths = ['/x']", "CONNECT https://a.test", {}),
            ):
                with self.subTest(condition, action=action):
                    policy, authz_request = self.policy(condition, action), request(*url.split(" "), **given)
                    self.assertNotIn("in different ways", policy.decide(authz_request).reason)
                    self.assertIsNone(policy.trace(authz_request)[0].doubt)

    def test_long_path(self) -> None:
        """A path that takes long to compare is not examined for a reason."""
        for slashes, named in ((20, True), (200, False)):
            authz_request = request("GET", "http://a.test/x" + "a%2f" * slashes)
            self.assertEqual("%2F" in self.policy("paths = ['/x*']", "allow").decide(authz_request).reason, named)

    def test_too_much_work(self) -> None:
        """The remaining work budget can be too small to examine a rule again."""
        values = ", ".join(f"'x{number}'" for number in range(90))
        authz_request = request("GET", "http://a.test/", headers=[("X-A", "y" * 7_000)])
        policy = self.policy(f"headers = {{ X-A = [{values}] }}", "allow")
        self.assertEqual(policy.decide(authz_request).reason, "no rule allows GET http://a.test")

    def test_only_the_first_rules(self) -> None:
        """Only the first of many rules are examined again."""
        numbers = range(20)
        rules = "".join(f"[[rules]]\nname = 'r{one}'\naction = 'allow'\npaths = ['/{one}']\n" for one in numbers)
        policy = parse(f"version = 1\n{rules}")
        for number, named in ((7, True), (8, False)):
            reason = policy.decide(request("GET", f"http://a.test/x%2f..%2f{number}")).reason
            self.assertEqual(f"so the rule r{number} does" in reason, named)
