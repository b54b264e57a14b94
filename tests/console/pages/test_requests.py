"""Tests for L{egress.console.pages.requests}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.config.model import ProxyConfig
from egress.store.filter_language import Condition, Equals
from egress.store.interfaces import StoreError
from tests.console.browser import ADMIN, VIEWER, ConsoleBrowser, record
from tests.console.policies import PolicyConsoleTestCase

PATH = "/console/requests/abc123"
ATTACK = "<script>alert(1)</script>\"'"
POLICY = ProxyConfig(admin="tcp:9099", admin_token=ADMIN, admin_viewer_token=VIEWER, policy=Path("/etc/policy.toml"))


class RequestTests(SynchronousTestCase):
    """The page of one request."""

    def open(self, *records: Any, token: str = ADMIN, **more: Any) -> ConsoleBrowser:
        browser = ConsoleBrowser(records, **{"config": POLICY, **more})
        browser.sign_in(token)
        return browser

    def test_page(self) -> None:
        browser = self.open(record(phases=[["decision", 0.2]], requestHeaders=[["Accept", "*/*"]]))
        page = browser.get(PATH)
        self.assertEqual(page.status, 200)
        self.assertIn("the path is closed The request was denied.", page.text)
        self.assertIn("Wait for the decision 0.20 ms", page.text)
        self.assertIn("Accept */*", page.text)
        self.assertIn("Response header fields Not recorded.", page.text)
        given, limit = browser.store.searches[-1]
        self.assertEqual((given.conditions, limit), ((Condition("id", (Equals("abc123"),)),), 1))

    def test_earlier_records(self) -> None:
        """Records of earlier versions have neither phases nor header fields."""
        page = self.open(record()).get(PATH)
        self.assertEqual(page.status, 200)
        self.assertIn("No timeline", page.text)

    def test_actions(self) -> None:
        page = self.open(record(requestHeaders=[["Accept", "*/*"]], identity="ci")).get(PATH)
        self.assertIn('href="/console/policy/new-rule?request=abc123"', page.body)
        for name, value in (("method", "GET"), ("client", "ci"), ("headers", "Accept: */*")):
            self.assertIn(f'name="{name}" value="{value}"', page.body)

    def test_change(self) -> None:
        """The page of a change has what changed, and no action."""
        values = {"stage": "admin", "method": "", "url": "", "verdict": "change", "outcome": "rule-added"}
        page = self.open(record(**values, reason="a rule was added", decidedBy="console", ruleId=None)).get(PATH)
        self.assertIn("change Change in the console a rule was added", page.text)
        for words in ("Create a rule", "What would the policy", "Timeline", "header fields"):
            self.assertNotIn(words, page.text)

    def test_viewers(self) -> None:
        """They see the request, can try it, and see no button that changes anything."""
        page = self.open(record(), token=VIEWER).get(PATH)
        self.assertEqual(page.status, 200)
        self.assertIn("What would the policy", page.text)
        self.assertNotIn("Create a rule", page.text)

    def test_authorization_service(self) -> None:
        """Without a policy file, there is nothing to add a rule to."""
        config = ProxyConfig(admin="tcp:9099", admin_token=ADMIN, authz_url="http://127.0.0.1:9000")
        page = self.open(record(), config=config).get(PATH)
        self.assertNotIn("Create a rule", page.text)
        self.assertIn("What would the policy decide now?", page.text)

    def test_unknown_requests(self) -> None:
        self.assertEqual(self.open().get(PATH).status, 404)
        self.assertEqual(self.open(has_store=False).get(PATH).status, 404)

    def test_store_that_cannot_be_read(self) -> None:
        browser = self.open(record())
        browser.store.error = StoreError("/a.db: disk I/O error")
        page = browser.get(PATH)
        self.assertEqual(page.status, 503)
        self.assertIn("/a.db: disk I/O error", page.text)

    def test_escapes(self) -> None:
        """No value of a request or of a policy is markup."""
        names = ("requestId", "client", "identity", "method", "url", "verdict", "outcome", "reason", "observed")
        values: dict[str, Any] = {name: ATTACK + name for name in (*names, "decidedBy", "ruleId", "source", "upstream")}
        headers = [[ATTACK, ATTACK]]
        attack = record(**values, phases=[[ATTACK, 1.0]], requestHeaders=headers, responseHeaders=headers)
        page = self.open(attack).get(PATH)
        self.assertEqual(page.status, 200)
        self.assertNotIn("<script>alert", page.body)
        self.assertNotIn("'", page.body)


class RuleTests(PolicyConsoleTestCase):
    """The rule that decided, as the policy has it now."""

    def page(self, **values: Any) -> Any:
        self.store.records = [record(**values)]
        response = self.console().get(PATH)
        self.assertEqual(response.status, 200)
        return response

    def test_rule(self) -> None:
        page = self.page(ruleId="no-deletes")
        self.assertIn("policy.toml:11 ✕ deny with method DELETE nothing is deleted from here", page.text)
        self.assertIn('href="/console/policy#rule-no-deletes"', page.body)

    def test_default(self) -> None:
        self.assertIn("No rule matched ✕ deny", self.page(ruleId="default").text)

    def test_unknown(self) -> None:
        words = "The policy in use does not have this rule, or something else decided."
        self.assertIn(words, self.page(ruleId="gone").text)
        self.assertNotIn(words, self.page(ruleId=None).text)
        self.rules = None
        self.assertIn(words, self.page(ruleId="no-deletes").text)

    def test_workers_that_do_not_respond(self) -> None:
        class NoWorkers:
            def in_use(self) -> Any:
                return fail(Unanswered("no worker responds"))

        self.store.records = [record(ruleId="no-deletes")]
        self.assertEqual(self.console(policies=NoWorkers()).get(PATH).status, 200)
