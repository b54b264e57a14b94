"""Tests for L{egress.console.request_view}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.request_view import WIDTH, DecidingRule, RequestView, rule_link
from egress.model.phases import PHASES
from egress.policy.parse.load import parse_policy
from tests.console.browser import record
from tests.console.policies import POLICY


def view(**values: Any) -> RequestView:
    return RequestView.of(record(**values))


class ViewTests(SynchronousTestCase):
    """The view of a record."""

    def facts(self, found: RequestView) -> dict[str, tuple[str, str]]:
        return {fact.name: (fact.value, fact.link) for fact in (*found.decision, *found.exchange)}

    def test_facts(self) -> None:
        found = view(identity="ci", upstream="proxy:3128", address="192.0.2.1", source="cache", observed="deny")
        facts = self.facts(found)
        self.assertEqual(facts["Rule"], ("no-admin", "/console/live?q=rule%3Ano-admin"))
        self.assertEqual(facts["Host"], ("api.example", "/console/live?q=host%3Aapi.example"))
        self.assertEqual(facts["Client name"], ("ci", "/console/live?q=client%3Aci"))
        self.assertEqual(facts["Upstream proxy"][0], "proxy:3128")
        self.assertEqual((facts["Source"][0], facts["Address"][0]), ("cache", "192.0.2.1"))
        self.assertEqual(facts["Observe mode"][0], "enforced, the verdict would be deny")
        self.assertEqual((facts["Received"][0], facts["Decision time"][0]), ("120 B", "0.20 ms"))
        self.assertEqual(found.client, "ci")

    def test_protocols(self) -> None:
        """The versions of HTTP, and the gRPC call; a record of an earlier version has neither."""
        call = {"service": "a.B", "method": "C", "status": "NOT_FOUND"}
        facts = self.facts(view(clientHttp="2", originHttp="1.1", grpc=call))
        self.assertEqual(facts["HTTP of the client"], ("2", "/console/live?q=client_http%3A2"))
        self.assertEqual(facts["HTTP of the origin"], ("1.1", "/console/live?q=origin_http%3A1.1"))
        self.assertEqual(facts["gRPC call"], ("a.B/C", "/console/live?q=grpc%3Aa.B%2FC"))
        self.assertEqual(facts["gRPC status"], ("NOT_FOUND", "/console/live?q=grpc_status%3ANOT_FOUND"))
        self.assertEqual(self.facts(view(grpc={**call, "status": None}))["gRPC status"], ("unknown", ""))
        for name in ("HTTP of the client", "HTTP of the origin", "gRPC call", "gRPC status"):
            self.assertNotIn(name, self.facts(view(clientHttp=None)))

    def test_proxy(self) -> None:
        """The proxy that wrote the record, if several proxies share the store."""
        for worker, text in ((0, "proxy-1"), (2, "proxy-1, worker 2")):
            facts = self.facts(view(node="proxy-1", worker=worker))
            self.assertEqual(facts["Proxy"], (text, "/console/live?q=node%3Aproxy-1"))
        self.assertNotIn("Proxy", self.facts(view()))

    def test_policy_version(self) -> None:
        """The version of the policy; a record of an earlier version has none."""
        found = self.facts(view(policyVersion="7-3f9a0c1b2d4e"))["Policy version"]
        self.assertEqual(found, ("7-3f9a0c1b2d4e", "/console/live?q=policy%3A7-3f9a0c1b2d4e"))
        for values in ({}, {"policyVersion": None}):
            self.assertNotIn("Policy version", self.facts(view(**values)))

    def test_change(self) -> None:
        """The record of a change has neither a decision nor an exchange."""
        found = view(
            stage="admin", method="", url="", verdict="change", outcome="rule-added", decidedBy="console", ruleId=None
        )
        self.assertEqual((found.method, found.url, found.outcome), ("Change", "in the console", ""))
        self.assertFalse(found.can_be_tried)
        self.assertTrue(found.is_change)
        self.assertEqual(list(self.facts(found)), ["Outcome", "Time", "Client"])

    def test_missing_values(self) -> None:
        found = view(
            ruleId=None, decidedBy="proxy", decisionMs=None, status=None, method="", url="", outcome="bad-request"
        )
        facts = self.facts(found)
        self.assertNotIn("Rule", facts)
        self.assertNotIn("Host", facts)
        self.assertEqual(facts["Decided by"][0], "the proxy itself")
        self.assertEqual(facts["Status"][0], "none: the connection was closed")
        self.assertIn("bad-request", found.outcome)
        self.assertFalse(found.can_be_tried)
        self.assertEqual((found.bars, found.request_headers, found.response_headers), ((), None, None))

    def test_ipv6_clients(self) -> None:
        self.assertIn("client%3A2001%3Adb8%3A%3A1", self.facts(view(client="[2001:db8::1]:4000"))["Client"][1])

    def test_timeline(self) -> None:
        found = view(durationMs=10.0, phases=[["request", 1.0], ["decision", 4.0], ["wait", 5.0]])
        self.assertEqual([(bar.left, bar.width) for bar in found.bars], [(0, 100), (100, 400), (500, 500)])
        self.assertEqual([bar.duration for bar in found.bars], ["1.0 ms", "4.0 ms", "5.0 ms"])

    def test_short_and_long_phases(self) -> None:
        """Every bar is visible, and inside of the timeline."""
        for phases in ([["wait", 1000.0], ["receive", 0.0]], [["dns", 5.0], ["wait", 20.0]], [["request", 0.0]]):
            for bar in view(durationMs=1.0, phases=phases).bars:
                with self.subTest(phases):
                    self.assertGreaterEqual(bar.width, 4)
                    self.assertGreaterEqual(bar.left, 0)
                    self.assertLessEqual(bar.left + bar.width, WIDTH + 0.1)
        self.assertEqual(view(durationMs=0.0, phases=[["request", 0.0]]).bars[0].duration, "0.00 ms")

    def test_words(self) -> None:
        """Each phase has words; the name of an unknown one is shown."""
        for name in PHASES:
            self.assertNotEqual(view(phases=[[name, 1.0]]).bars[0].words, name)
        self.assertEqual(view(phases=[["new", 1.0]]).bars[0].words, "new")

    def test_headers(self) -> None:
        headers = [["Accept", "*/*"], ["Authorization", "Bearer REDACTED"], ["X", "a\rb"], ["", "3 more fields"]]
        found = view(requestHeaders=headers, responseHeaders=[])
        self.assertEqual(found.request_headers, tuple(map(tuple, headers)))
        self.assertEqual(found.response_headers, ())
        # A request to try has no redacted values.
        self.assertEqual(found.headers_text, "Accept: */*")

    def test_long_urls(self) -> None:
        """A form has a limit."""
        self.assertFalse(view(url="http://a.test/" + "x" * 7000).can_be_tried)
        self.assertTrue(view().can_be_tried)

    def test_deciding_rule(self) -> None:
        """The rule as the policy has it now, with its line."""
        rules = parse_policy(POLICY, "/etc/policy.toml", "policy")
        rule = DecidingRule.find(rules, "no-deletes")
        assert rule is not None
        self.assertEqual(
            (rule.place, rule.file, rule.action, rule.kind), ("policy.toml:11", "/etc/policy.toml", "deny", "bad")
        )
        self.assertEqual([clause.values for clause in rule.conditions], [("DELETE",)])
        self.assertEqual(rule.link, "/console/policy#rule-no-deletes")
        default = DecidingRule.find(rules, "default")
        assert default is not None
        self.assertEqual((default.place, default.action), ("", "deny"))
        self.assertIsNone(DecidingRule.find(rules, "gone"))

    def test_link(self) -> None:
        self.assertEqual(rule_link("a&b"), "/console/policy/new-rule?request=a%26b")
