"""Tests for L{egress.console.new_rule}."""

from __future__ import annotations

import json
import os
from html import unescape
from typing import Any
from unittest import mock

from twisted.internet.defer import fail, succeed
from twisted.logger import capturedLogs

from egress.config.model import ConfigError
from egress.policy.loaded_policy import LoadedPolicy, texts_to_json
from egress.store.interfaces import StoreError
from tests.console.browser import NOW, VIEWER, ConsoleBrowser, Response, record
from tests.console.policies import POLICY, PolicyConsoleTestCase

ATTACK = "<script>alert(1)</script>\"'"
PATH = "/console/policy/new-rule"


class NewRuleTestCase(PolicyConsoleTestCase):
    """Base: a console that may change the policy, and a request that a rule denied."""

    def setUp(self) -> None:
        super().setUp()
        denied = {"method": "DELETE", "url": "https://shop.test/orders/7", "ruleId": "no-deletes"}
        self.store.records = [record(requestId="r1", **denied)]
        self.browser = self.console(config={"console_policy_edit": True})

    def fields(self, page: Response) -> dict[str, str]:
        """Return the fields of the form of a page."""
        found = {}
        for name in ("request", "digest", "action", "scope", "methods", "client"):
            value = page.body.partition('method="post" action="/console/policy/new-rule"')[2]
            found[name] = unescape(value.partition(f'name="{name}" value="')[2].partition('"')[0])
        found["toml"] = unescape(page.body.partition('<textarea class="code" id="toml"')[2].partition(">\n")[2])
        found["toml"] = found["toml"].partition("</textarea>")[0]
        return found

    def opened(self, browser: ConsoleBrowser | None = None) -> dict[str, str]:
        """Open the page; return the fields of its form."""
        page = (browser or self.browser).get(f"{PATH}?request=r1")
        self.assertEqual(page.status, 200, page.text)
        return self.fields(page)

    def save(self, browser: ConsoleBrowser | None = None, **changes: str) -> Response:
        with capturedLogs() as self.events:
            return (browser or self.browser).post(PATH, {**self.opened(browser), "do": "save", **changes})

    def assert_unchanged(self) -> None:
        self.assertEqual((self.path.read_text("utf-8"), self.reloads), (POLICY, 0))


class PageTests(NewRuleTestCase):
    """The proposal."""

    def test_proposal(self) -> None:
        page = self.browser.get(f"{PATH}?request=r1")
        for expected in (
            "DELETE https://shop.test/orders/7 Decision ✕ deny by the rule no-deletes",
            "✓ valid With this rule, this request is allowed.",
            "before the rule no-deletes",
            "1 of 1 recorded requests would be decided differently",
            "+# Added in the web console on 2027-01-15, from request r1.",
        ):
            self.assertIn(expected, page.text)
        self.assertIn('paths = ["/orders/7"]', self.fields(page)["toml"])

    def test_choices(self) -> None:
        page = self.browser.get(f"{PATH}?request=r1&action=ask&scope=similar&methods=all&client=this")
        toml = self.fields(page)["toml"]
        self.assertIn('action = "ask"', toml)
        self.assertIn('paths = ["/orders/*"]', toml)
        self.assertIn('clients = ["10.0.0.1"]', toml)
        self.assertNotIn("methods", toml)

    def test_preview(self) -> None:
        fields = self.opened()
        page = self.browser.post(PATH, {**fields, "toml": "[[rules]]\r\nname = 1", "do": "preview"})
        self.assertEqual(page.status, 200)
        self.assertIn("✕ not valid", page.text)
        self.assertNotIn("Add the rule", page.text)
        self.assertEqual(self.fields(page)["toml"], "[[rules]]\nname = 1")
        self.assert_unchanged()

    def test_no_request(self) -> None:
        self.store.records = []
        page = self.browser.get(f"{PATH}?request=%3Cscript%3Ealert(1)")
        self.assertEqual(page.status, 404)
        self.assertNotIn("<script>alert", page.body)
        self.store.records = [record(verdict="rejected", reason="no host")]
        page = self.browser.get(f"{PATH}?request=r1")
        self.assertEqual(page.status, 409)
        self.assertIn("rejected this request before a policy decided: no host", page.text)
        self.store.error = StoreError("/a.db: disk I/O error")
        self.assertEqual(self.browser.get(f"{PATH}?request=r1").status, 503)

    def test_authorization_service(self) -> None:
        self.rules = None
        browser = self.console(config={"policy": None, "authz_url": "http://127.0.0.1:9191"})
        page = browser.get(f"{PATH}?request=r1")
        self.assertEqual(page.status, 409)
        self.assertIn("The proxy has no policy of its own", page.text)

    def test_escapes(self) -> None:
        url = f"https://shop.test/{ATTACK}"
        self.store.records = [record(requestId="r1", url=url, reason=ATTACK, ruleId=ATTACK, identity=ATTACK)]
        for query in ("", "&scope=host&client=this"):
            page = self.browser.get(f"{PATH}?request=r1{query}")
            self.assertEqual(page.status, 200)
            self.assertNotIn("<script>alert", page.body)
        page = self.browser.post(PATH, {**self.fields(page), "toml": f"</textarea>{ATTACK}", "by": ATTACK})
        self.assertNotIn("<script>alert", page.body)


class SaveTests(NewRuleTestCase):
    """The change of the file."""

    def test_saved(self) -> None:
        assert self.rules is not None
        digest = self.rules.digest
        found = self.save(by="ann")
        self.assertEqual(found.status, 303, found.text)
        location = found.field("location") or ""
        self.assertEqual(
            location,
            "/console/policy?done=added&rule=deny-x&request=r1#rule-deny-x".replace("deny-x", "allow-shop.test-orders"),
        )
        text = self.path.read_text("utf-8")
        before, _, after = POLICY.partition("# Nobody deletes")
        self.assertTrue(text.startswith(before) and text.endswith(after))
        self.assertIn("# Added in the web console on 2027-01-15 by ann, from request r1.\n[[rules]]\n", text)
        self.assertEqual(self.reloads, 1)
        assert self.rules is not None
        self.assertEqual([rule.rule_id for rule in self.rules.rules][1:3], ["allow-shop.test-orders", "no-deletes"])
        (event,) = [event for event in self.events if "digest" in event]
        self.assertEqual(
            (event["who"], event["rules"], event["file"], event["request"], event["digest"]),
            ("ann", "allow-shop.test-orders", str(self.path), "'r1'", self.rules.digest),
        )
        (change,) = self.browser.backend.changes
        self.assertEqual((change.kind.value, change.actor.role), ("rule-added", "admin"))
        use = change.policy
        self.assertEqual((use.source, use.author, use.version), ("console", "ann", self.rules.policy_version))
        self.assertEqual((use.digest, use.texts), (self.rules.digest, json.dumps(texts_to_json(self.rules.texts))))
        self.assertIn(f"ann added allow-shop.test-orders to {self.path}, line ", change.text)
        self.assertIn(f", for request r1; the policy was {digest}, and is {self.rules.digest}", change.text)
        self.assertIn("allow-shop.test-orders is in use", self.browser.get(location.partition("#")[0]).text)

    def test_edited_text(self) -> None:
        toml = '[[rules]]\nname = "mine"\naction = "allow"\nhosts = ["shop.test"]\nmethods = ["DELETE"]\n'
        self.assertEqual(self.save(toml=toml.replace("\n", "\r\n")).status, 303)
        self.assertIn(f"\n{toml}\n# Nobody deletes", self.path.read_text("utf-8"))

    def test_included_file(self) -> None:
        """The rule goes into the file of the rule that decided."""
        part = self.write(
            'version = 1\n[[rules]]\nname = "part"\naction = "deny"\nreason = "no"\nhosts = ["part.test"]\n',
            "part.toml",
        )
        self.write(POLICY.replace("version = 1\n", 'version = 1\ninclude = ["part.toml"]\n'))
        self.reload()
        self.store.records = [record(requestId="r1", url="https://part.test/x", ruleId="part")]
        self.assertEqual(self.save().status, 303)
        self.assertIn('name = "allow-part.test-x"', part.read_text("utf-8"))
        self.assertNotIn("allow-part", self.path.read_text("utf-8"))

    def test_stale(self) -> None:
        """If the policy changed after the page was made, nothing is saved, and the page has a new preview."""
        fields = self.opened()
        self.write(POLICY + "# changed\n")
        self.reload()
        page = self.browser.post(PATH, {**fields, "do": "save"})
        self.assertEqual(page.status, 409)
        self.assertIn("The policy changed after this page was made, so nothing was saved.", page.text)
        self.assertEqual(self.path.read_text("utf-8"), POLICY + "# changed\n")
        self.assertEqual(self.browser.post(PATH, {**self.fields(page), "do": "save"}).status, 303)

    def test_file_that_is_not_loaded(self) -> None:
        fields = self.opened()
        self.write(POLICY + "# changed\n")
        page = self.browser.post(PATH, {**fields, "do": "save"})
        self.assertEqual(page.status, 409)
        self.assertIn("The files have another policy than the one in use", page.text)
        self.assertEqual(self.path.read_text("utf-8"), POLICY + "# changed\n")

    def test_changed_in_the_last_moment(self) -> None:
        with mock.patch("egress.console.new_rule.save_policy", side_effect=_save_after(self.path)):
            page = self.save()
        self.assertEqual((page.status, self.reloads), (409, 0))
        self.assertIn("was changed by someone else", page.text)
        self.assertEqual(self.path.read_text("utf-8"), "version = 1\n")

    def test_text_with_problems(self) -> None:
        for toml in ("[[rules]]", "x", '[[rules]]\nname = "x"\naction = "deny"\nreason = "no"\n'):
            page = self.save(toml=toml)
            self.assertEqual(page.status, 409)
            self.assertIn("Nothing was saved.", page.text)
            self.assert_unchanged()

    def test_not_permitted(self) -> None:
        """Without the option, the page shows the text to copy."""
        browser = self.console()
        page = browser.get(f"{PATH}?request=r1")
        self.assertIn("The console may not change the policy. Copy the text into the file", page.text)
        self.assertNotIn("Add the rule", page.text)
        self.assertEqual(self.save(browser).status, 409)
        self.assert_unchanged()

    def test_not_writable(self) -> None:
        with mock.patch.object(os, "access", return_value=False):
            page = self.save()
        self.assertEqual(page.status, 409)
        self.assertIn("The proxy has no permission to write to", page.text)
        self.assert_unchanged()

    def test_starter(self) -> None:
        from egress.policy.parse.load import load_starter

        self.rules = load_starter()
        browser = self.console(config={"policy": None})
        self.assertIn("The starter policy of the package has no file", browser.get(f"{PATH}?request=r1").text)

    def test_policy_of_a_url(self) -> None:
        browser = self.console(config={"policy": "https://policies.test/policy.toml"})
        page = browser.get(f"{PATH}?request=r1").text
        self.assertIn("The policy is at https://policies.test/policy.toml. Change it there", page)

    def test_reload_fails(self) -> None:
        """The file gets its old text again."""
        error = ConfigError("--policy", "", "requires secrets: set --secrets to a file with x")
        browser = self.console(config={"console_policy_edit": True}, reload=lambda: fail(error))
        page = self.save(browser)
        self.assertEqual(page.status, 409)
        self.assertIn("because the reload failed", page.text)
        self.assertEqual(browser.backend.changes, [])
        self.assert_unchanged()

    def test_invalid_name(self) -> None:
        for by in ("x" * 101, "a\nb"):
            self.assertEqual(self.save(by=by).status, 400)
        self.assert_unchanged()

    def test_who_may(self) -> None:
        """A viewer, and a form without its token, change nothing."""
        fields = self.opened()
        self.assertEqual(self.browser.post(PATH, {**fields, "do": "save", "csrf": "x"}).status, 403)
        viewer = self.console(token=VIEWER, config={"console_policy_edit": True})
        self.assertEqual(viewer.get(f"{PATH}?request=r1").status, 403)
        self.assertEqual(viewer.post(PATH, {**fields, "do": "save"}).status, 403)
        self.assert_unchanged()

    def test_workers(self) -> None:
        """The response waits until each worker uses the policy, for some seconds."""
        fields = self.opened()
        policies = self.browser.sources.policies
        own = policies.in_use
        slow = LoadedPolicy("p", "old", NOW)
        answers = [0]

        def in_use() -> Any:
            (loaded,) = self.successResultOf(own())
            answers[0] += 1
            # The first response is the policy of the page.
            return succeed([loaded, slow] if 1 < answers[0] < 5 else [loaded])

        self.patch(policies, "in_use", in_use)
        with capturedLogs():
            transport = self.begin(fields)
            self.assertEqual(transport.value(), b"")
            self.browser.clock.pump([0.1] * 5)
        self.assertIn(b"303", transport.value())

    def begin(self, fields: dict[str, str]) -> Any:
        """Send the form, without waiting for the response."""
        from urllib.parse import urlencode

        body = urlencode({"csrf": self.browser.csrf, **fields, "do": "save"})
        cookies = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        lines = [
            f"POST {PATH} HTTP/1.1",
            "Host: localhost:9099",
            "Origin: http://localhost:9099",
            f"Cookie: {cookies}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        return self.browser.send("\r\n".join([*lines, "", body]).encode())


def _save_after(path: Any) -> Any:
    """Return a function that saves the policy after another program has changed the file."""
    from egress.admin.policy_file import save_policy

    def save(*arguments: Any) -> None:
        path.write_text("version = 1\n", "utf-8")
        save_policy(*arguments)

    return save
