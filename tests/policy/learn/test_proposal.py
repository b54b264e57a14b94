"""Tests for L{egress.policy.learn.proposal}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Verdict
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.proposal import Choice, Methods, Scope, method_choices, path_patterns, propose
from egress.policy.learn.replay import Recorded
from tests.policy.audit import audit_line, read
from tests.policy.policies import parse


def line(method: str, url: str, **more: Any) -> AuditLine:
    (found,) = read(audit_line(method, url, **more))
    return found


class ScopeTests(SynchronousTestCase):
    """The possible scopes of a rule."""

    def test_paths(self) -> None:
        for path, expected in (
            (
                "/users/12345/orders?page=2",
                {
                    Scope.PATH: ("/users/12345/orders",),
                    Scope.SIMILAR: ("/users/*/orders",),
                    Scope.BELOW: ("/users/12345/**",),
                },
            ),
            ("/health", {Scope.PATH: ("/health",)}),
            ("/", {Scope.PATH: ("/",)}),
            ("/a/b", {Scope.PATH: ("/a/b",), Scope.BELOW: ("/a/**",)}),
            # A literal wildcard.
            ("/a*", {Scope.PATH: ("/a%2A",), Scope.SIMILAR: ("/*",)}),
            ("/b/**", {Scope.PATH: ("/b/%2A%2A",), Scope.SIMILAR: ("/b/*",), Scope.BELOW: ("/b/**",)}),
            # Servers read it as two paths.
            ("/a%2Fb", {Scope.PATH: ("/a%2Fb", "/a/b")}),
            ("/x/a%2Fb", {Scope.PATH: ("/x/a%2Fb", "/x/a/b"), Scope.BELOW: ("/x/**", "/x/a/**")}),
            # No pattern matches it with certainty.
            ("/a/../b", {}),
            ("/" + "%2e;/" * 40, {}),
            # Servers read it in more ways than are compared.
            ("/%" + "25" * 200 + "41", {}),
        ):
            with self.subTest(path):
                self.assertEqual(path_patterns(line("GET", f"https://a.test{path}")), {**expected, Scope.HOST: ()})

    def test_tunnel(self) -> None:
        found = line("CONNECT", "https://a.test:5432")
        self.assertEqual((path_patterns(found), method_choices(found)), ({Scope.HOST: ()}, (Methods.SAME,)))

    def test_methods(self) -> None:
        for method, expected in (
            ("GET", (Methods.SAME, Methods.SAFE, Methods.ALL)),
            ("POST", (Methods.SAME, Methods.ALL)),
            # A policy cannot name it.
            ("post", (Methods.ALL,)),
        ):
            self.assertEqual(method_choices(line(method, "https://a.test/")), expected)


class ProposalTests(SynchronousTestCase):
    """The text of a rule."""

    def test_narrowest(self) -> None:
        found = propose(
            line("POST", "https://api.test/v1/orders?x=1"), Choice("allow", Scope.PATH), (), "from request r1"
        )
        self.assertEqual(
            found,
            "# from request r1\n"
            "[[rules]]\n"
            'name = "allow-api.test-v1-orders"\n'
            'action = "allow"\n'
            'hosts = ["api.test"]\n'
            "ports = [443]\n"
            'schemes = ["https"]\n'
            'methods = ["POST"]\n'
            'paths = ["/v1/orders"]\n',
        )

    def test_wider(self) -> None:
        found = propose(
            line("GET", "http://a.test:8080/x/y", identity="ann"),
            Choice("deny", Scope.HOST, Methods.SAFE, this_client=True),
            {"deny-a.test-x-y"},
            "",
        )
        self.assertEqual(
            found,
            "[[rules]]\n"
            'name = "deny-a.test-x-y-2"\n'
            'action = "deny"\n'
            'reason = "requests to a.test are denied"\n'
            'hosts = ["a.test"]\n'
            "ports = [8080]\n"
            'schemes = ["http"]\n'
            'methods = ["GET", "HEAD", "OPTIONS"]\n'
            'clients = ["ann"]\n',
        )

    def test_tunnel(self) -> None:
        found = propose(line("CONNECT", "https://db.test:5432"), Choice("ask", Scope.PATH), (), "")
        self.assertEqual(
            found,
            "[[rules]]\n"
            'name = "ask-db.test"\n'
            'action = "ask"\n'
            'reason = "tunnels to db.test require approval"\n'
            'hosts = ["db.test"]\n'
            "ports = [5432]\n"
            'methods = ["CONNECT"]\n',
        )

    def test_calls(self) -> None:
        """An allow rule has the gRPC call; other rules have the path, because it has other readings, too."""
        call = {"service": "a.B", "method": "C", "status": "OK"}
        found = line("POST", "https://a.test/a.B/C", grpc=call)
        for scope, expected in (
            (Scope.PATH, 'grpc = { service = "a.B", method = "C" }\n'),
            (Scope.BELOW, 'grpc = { service = "a.B" }\n'),
            (Scope.HOST, 'methods = ["POST"]\n'),
        ):
            text = propose(found, Choice("allow", scope), (), "")
            self.assertIn(expected, text)
            self.assertEqual("paths" in text or "methods" in text, scope is Scope.HOST)
            self.assertTrue(parse(f"version = 1\n{text}").decide(Recorded.of(found).question()).allowed, text)
        for choice in (Choice("deny", Scope.PATH), Choice("ask", Scope.PATH), Choice("allow", Scope.PATH, Methods.ALL)):
            text = propose(found, choice, (), "")
            self.assertIn('paths = ["/a.B/C"]\n', text)
            self.assertNotIn("grpc", text)

    def test_each_choice_decides(self) -> None:
        """Whatever the reader chooses, the rule is valid and decides on the request."""
        for method, url in (
            ("GET", "https://a.test/"),
            ("PATCH", "http://[2001:db8::1]:8080/a%2Fb/%E2%82%AC/c%20d"),
            ("GET", "https://xn--bcher-kva.test/" + "a" * 300),
            ("OPTIONS", "https://a.test"),
            ("post", "https://192.0.2.7/x"),
            ("GET", 'https://a.test/"quoted"/%5C/x;y/z'),
            ("CONNECT", "https://a.test:22"),
        ):
            request = line(method, url, client="192.0.2.9:1")
            for scope in Scope:
                for methods in Methods:
                    for action in ("allow", "deny", "ask"):
                        for this_client in (False, True):
                            text = propose(request, Choice(action, scope, methods, this_client), (), "a note")
                            with self.subTest(url, text=text):
                                policy = parse(f"version = 1\n{text}")
                                decision = policy.decide(Recorded.of(request).question())
                                self.assertIs(decision.verdict, Verdict(action))
                                self.assertEqual(decision.rule_id, policy.rules[0].rule_id)
