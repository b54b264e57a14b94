"""Tests for L{egress.policy.reason_template}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import CALL_ATTRIBUTES
from egress.policy.reason_template import Reason, cleaned
from tests.policy.policies import request


class ReasonTests(SynchronousTestCase):
    """Reasons with placeholders."""

    def text(self, template: str, url: str = "https://Example.com:8443/a/b?token=secret") -> str:
        authz_request = request("GET", url, identity="ci", address="10.0.0.1")
        return Reason.parse(template).text(authz_request, "one")

    def test_values(self) -> None:
        """Placeholders are replaced; a query is not shown because it can contain secrets."""
        self.assertEqual(self.text("plain"), "plain")
        self.assertEqual(
            self.text("{rule}: {method} {url} = {host} {port} {path} by {identity} at {client}{{}}"),
            "one: GET https://example.com:8443/a/b = example.com 8443 /a/b by ci at 10.0.0.1{}",
        )
        self.assertEqual(Reason.parse("{identity}").text(request("GET", "http://a.test/"), "one"), "nobody")
        self.assertEqual(self.text("{host}", "http://[::1]/"), "[::1]")

    def test_grpc(self) -> None:
        """The placeholder has the method of a gRPC call, and depends on all that determines it."""
        reason = Reason.parse("{grpc} is not allowed")
        headers = [("Content-Type", "application/grpc")]
        call = request("POST", "http://a.test/a.B/C", headers=headers)
        self.assertEqual(reason.text(call, "one"), "a.B/C is not allowed")
        self.assertEqual(reason.text(request("POST", "http://a.test/a.B/C"), "one"), "no gRPC method is not allowed")
        self.assertEqual(reason.depends_on, CALL_ATTRIBUTES)

    def test_secrets(self) -> None:
        """Path parameters, and the credentials of a URL in a path, are not shown."""
        for path, expected in (
            ("/a?token=hunter2", "/a"),
            ("/a%3Ftoken=hunter2", "/a..."),
            ("/a%253ftoken=hunter2", "/a..."),
            ("/a%23hunter2", "/a..."),
            ("/a;session=hunter2/b", "/a..."),
            ("/a%3bsession=hunter2/b", "/a..."),
            ("/fetch/http://user:hunter2@b.test/c", "/fetch/http://REDACTED@b.test/c"),
            ("/fetch/http:/user:hunter2@b.test/c", "/fetch/http:/REDACTED@b.test/c"),
            ("/fetch/http:%2F%2fuser:hunter2%40b.test", "/fetch/http:%2F%2fREDACTED@b.test"),
            ("/http%3a%2f%2fuser%3ahunter2%40b.test", "/http%3a%2f%2fREDACTED@b.test"),
            ("//user:hunter2@x@b.test/c", "//REDACTED@b.test/c"),
            ("/@scope/name@1.0", "/@scope/name@1.0"),
            ("/@scope%2fname", "/@scope%2fname"),
        ):
            with self.subTest(path):
                self.assertEqual(self.text("{path}", f"http://a.test{path}"), expected)
                self.assertEqual(self.text("{url}", f"http://a.test{path}"), f"http://a.test{expected}")
        authz_request = attrs.evolve(request("OPTIONS", "http://a.test/"), path="*")
        self.assertEqual(Reason.parse("{path} {url}").text(authz_request, "one"), "* http://a.test")
        self.assertEqual(self.text("{path}", "http://a.test/http://user:" + "x" * 300 + "@b"), "/http://REDACTED@b")

    def test_cache_key(self) -> None:
        """The placeholders of a reason are part of the cache key."""
        self.assertEqual(Reason.parse("x {host} {port} {rule}").depends_on, frozenset())
        self.assertEqual(
            Reason.parse("{path} {url} {method} {client} {identity}").depends_on,
            {"path", "method", "client", "identity"},
        )

    def test_cleaned(self) -> None:
        """A value becomes one printable line of bounded length."""
        self.assertEqual(cleaned("a\r\nb\x00\x85\u2028\u202e\udc80c"), "a??b?????c")
        # A soft hyphen, private use, not assigned: not printable either.
        self.assertEqual(cleaned("a\xad\ue000\U00108208\u0378b \xe4\u20ac"), "a????b \xe4\u20ac")
        self.assertEqual(self.text("{path}", "http://a.test/" + "x" * 500), "/" + "x" * 196 + "...")
        self.assertEqual(cleaned("x" * 200), "x" * 200)

    def test_rejected(self) -> None:
        for template, expected in (
            ("{hosts}", "did you mean {host}?"),
            ("{}", "use {host}, {port}"),
            ("{ host }", "did you mean {host}?"),
            ("{", "brace twice"),
            ("a } b", "brace twice"),
            ("{a{b}", "brace twice"),
        ):
            with self.subTest(template):
                self.assertIn(expected, str(self.assertRaises(ValueError, Reason.parse, template)))
