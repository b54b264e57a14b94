"""Tests for L{egress.console.try_view}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.try_view import Tried, TryForm, decided, explained
from egress.model.explanation import ExplainRequest, Explanation, InvalidExplainRequest, RuleTried, Step
from tests.policy.policies import parse

POLICY = parse(
    'version = 1\n[[rules]]\nname = "a"\naction = "allow"\nhosts = ["a.test"]\nclients = ["ann"]\n'
    '[[rules]]\nname = "t"\naction = "allow"\nhosts = ["db.test"]\nmethods = ["CONNECT"]\n'
    '[[rules]]\nname = "j"\naction = "deny"\nreason = "no"\njson = { x = 1 }\n'
    '[[rules]]\nname = "private"\naction = "deny"\nreason = "no"\naddresses = ["loopback"]\nhosts = ["n.test"]\n'
)


class FormTests(SynchronousTestCase):
    """The form."""

    def test_parsed(self) -> None:
        form = TryForm(" POST", "https://a.test/ ", "A: b: c\r\n\r\nX-Empty:\r\n", "{}", " ann ")
        self.assertEqual(
            form.parse(),
            ExplainRequest("POST", "https://a.test/", ((b"A", b"b: c"), (b"X-Empty", b"")), b"{}", "ann"),
        )
        self.assertEqual(TryForm("GET", "a").parse(), ExplainRequest("GET", "a"))

    def test_invalid(self) -> None:
        for form in (TryForm("", "a"), TryForm("GET", ""), TryForm("GET", "a", "x"), TryForm("GET", "a", ": x")):
            self.assertRaises(InvalidExplainRequest, form.parse)


class ExplainedTests(SynchronousTestCase):
    """The explanation of the proxy."""

    def test_steps(self) -> None:
        rules = tuple(RuleTried(f"r{number}", "deny", False, "hosts", "p:1") for number in range(20))
        last = RuleTried("last", "ask", True, None, "p:2", "its path is odd")
        steps = (
            Step("way", "ok", "directly", 0.0015),
            Step("decision", "ask", "ask, by rule", 0.1, ("one",), (*rules, last)),
        )
        found = explained(Explanation("GET", "u", steps, "none", "why", "proxy", None, 503, "code").to_json())
        self.assertEqual((found.verdict, found.kind, found.decided_by), ("no decision", "warn", "proxy"))
        self.assertEqual(found.response, "503 (code)")
        first, second = found.steps
        self.assertEqual((first.name, first.kind, first.outcome, first.duration), ("route", "good", "ok", "1.5 ms"))
        self.assertEqual((second.outcome, second.earlier, len(second.rules)), ("approval", 9, 12))
        self.assertEqual(second.rules[0].result, "does not match: hosts")
        self.assertEqual((second.rules[-1].result, second.rules[-1].decided), ("ask (its path is odd)", True))


class DecidedTests(SynchronousTestCase):
    """The decision of a policy that is not in use."""

    def decided(self, method: str, url: str, **more: Any) -> Tried | None:
        return decided(POLICY, ExplainRequest(method, url, **more), 0.0)

    def test_verdicts(self) -> None:
        for method, url, more, verdict, rule in (
            ("GET", "https://a.test/x", {"client": "ann"}, "allow", "a"),
            ("GET", "https://a.test/x", {}, "deny", "default"),
            ("POST", "http://b.test/", {"body": b'{"x": 1}'}, "deny", "j"),
            ("CONNECT", "db.test:5432", {}, "allow", "t"),
            ("GET", "https://b.test/", {"headers": ((b"host", b"b.test"),)}, "deny", "default"),
        ):
            found = self.decided(method, url, **more)
            assert found is not None
            self.assertEqual((found.verdict, found.decided_by), (verdict, f"policy p.toml, rule {rule}"), url)
            (step,) = found.steps
            self.assertEqual((step.rules[-1].id, step.rules[-1].decided), (rule, True))

    def test_addresses(self) -> None:
        """A policy that is not in use resolves no name."""
        found = decided(
            parse(
                'version = 1\ndefault = "allow"\n[[rules]]\naction = "deny"\nreason = "no"\naddresses = ["loopback"]\n'
            ),
            ExplainRequest("GET", "https://n.test/"),
            0.0,
        )
        assert found is not None
        self.assertEqual((found.verdict, found.kind), ("not decided", "warn"))

    def test_invalid(self) -> None:
        for method, url in (("GET", "/x"), ("GET", "https://"), ("CONNECT", "x"), ("GET", "ftp://a.test/")):
            self.assertIsNone(self.decided(method, url))
