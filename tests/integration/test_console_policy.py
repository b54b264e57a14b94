"""The Policy and Approvals pages of the web console in Chromium: a rule from a request, and newman with an approval."""

from __future__ import annotations

import atexit
import json
import subprocess
from functools import cache
from typing import Any, Final

from tests.integration.base import IntegrationTestCase, Proxy, run_egress
from tests.integration.console_browser import PHONE, ConsoleChromium
from tests.integration.processes import environment, free_port, node_module, program

ADMIN: Final = "hunter2-of-the-admin"
# Milliseconds: newman takes some seconds to start on a busy machine.
PATIENCE: Final = 30_000
WINDOW: Final = {"width": 1280, "height": 800}
ATTACK: Final = "<img/src=x/onerror=alert(1)>"

POLICY = """# The policy of the tests.
version = 1

# Nothing is closed for ever.
[[rules]]
name = "closed"
action = "deny"
reason = "this path is closed"
paths = ["/closed/**"]

[[rules]]
name = "uploads"
action = "ask"
reason = "each upload requires an approval"
methods = ["POST"]

[[rules]]
name = "reads"
action = "allow"
methods = ["GET"]

[[rules]]
name = "never"
action = "deny"
reason = "it is old"
methods = ["TRACE"]
"""

COLLECTION = {
    "info": {
        "name": "upload",
        "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
    },
    "item": [
        {
            "name": "upload",
            "request": {
                "method": "POST",
                "url": "{{base}}/echo",
                "header": [{"key": "Content-Type", "value": "application/json"}],
                "body": {"mode": "raw", "raw": json.dumps({"password": "hunter2", "note": ATTACK})},
            },
            "event": [
                {
                    "listen": "test",
                    "script": {"exec": ["pm.test('allowed', () => pm.response.to.have.status(200));"]},
                }
            ],
        }
    ],
}


@cache
def chromium() -> ConsoleChromium:
    """Start one browser for all tests."""
    browser = ConsoleChromium()
    atexit.register(browser.close)
    return browser


class ConsolePolicyTests(IntegrationTestCase):
    """A proxy whose console may change the policy."""

    def start(self) -> Proxy:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.policy = self.write("policy.toml", POLICY)
        proxy = self.start_proxy(
            *("--policy", str(self.policy), "--admin", f"tcp:{self.port}", "--console-policy-edit"),
            *("--admin-token-file", str(self.write("admin-token", ADMIN))),
            *("--audit-store", f"sqlite:{self.directory / 'audit.db'}"),
        )
        self.browser = chromium()
        self.browser.open(self.origin, viewport=WINDOW)
        self.browser.sign_in(ADMIN)
        return proxy

    def audit(self, name: str) -> None:
        """Check the current page in two appearances."""
        browser, found = self.browser, {}
        # C{test_console} checks the pages in each appearance; these have other content.
        for scheme, size in (("light", WINDOW), ("dark", PHONE)):
            browser.page("emulateMedia", {"colorScheme": scheme})
            browser.page("setViewportSize", size)
            problems = browser.audit()
            if problems:
                found[f"{name} {scheme} {size['width']}"] = problems
        browser.page("emulateMedia", {"colorScheme": "light"})
        browser.page("setViewportSize", WINDOW)
        self.assertEqual(found, {})
        self.assertEqual(self.browser.problems(), [])

    def test_rule_from_a_request(self) -> None:
        """Open a denied request, create a rule from it, and see the next request pass."""
        proxy = self.start()
        browser = self.browser
        url = self.origins.https_url("/closed/orders")
        self.assertEqual(self.fetch(proxy, url)[0], 403)
        self.fetch(proxy, self.origins.https_url(f"/closed/{ATTACK}"), "--globoff")
        self.fetch(proxy, self.origins.https_url("/json"))
        row = "#rows tr:has-text('/closed/orders') a"
        browser.wait_for(row)
        browser.page("click", row)
        browser.page("click", "text=Create a rule from this request")
        browser.wait_for("#toml")
        text = browser.text()
        for part in ("GET", "/closed/orders", "With this rule, this request is allowed.", "before the rule closed"):
            self.assertIn(part, text)
        self.assertIn("would be decided differently", text)
        self.audit("new-rule")

        # A text with an error is not saved.
        toml = str(browser.page("inputValue", "#toml"))
        browser.page("fill", "#toml", toml.replace('"allow"', '"alow"'))
        browser.page("click", "button:has-text('Preview')")
        browser.wait_for("text='action' must be")
        self.assertEqual(self.policy.read_text("utf-8"), POLICY)
        browser.page("fill", "#toml", toml)
        browser.page("fill", "#by", "ann")
        browser.page("click", "button:has-text('Preview')")
        browser.page("click", "button:has-text('Add the rule')")
        browser.wait_for("text=is in use", timeout=PATIENCE)
        # The page is there when each worker uses the rule.
        self.assertNotEqual(self.fetch(proxy, url)[0], 403)
        changed = self.policy.read_text("utf-8")
        before, _, after = POLICY.partition("# Nothing is closed")
        self.assertTrue(changed.startswith(before) and changed.endswith(after), changed)
        self.assertIn(" by ann, from request ", changed)
        self.assertIn("ann added allow-localhost-closed-orders to ", proxy.process.output())

        browser.goto("/console/policy?since=1h")
        text = browser.text()
        for part in ("allow-localhost-closed-orders", "closed", "reads", "never", "the same as on disk"):
            self.assertIn(part, text)
        self.audit("policy")
        browser.goto(f"/console/policy/try?url={self.origins.https_url('/closed/x')}")
        browser.page("click", "button:has-text('Explain')")
        browser.wait_for("text=403 (denied)")
        self.audit("policy-try")
        browser.goto("/console/policy/suggestion?since=1h")
        self.assertIn("/json", browser.text())
        self.audit("policy-suggestion")

        # A policy with an error is not loaded, and the page says where the error is.
        self.policy.write_text(changed.replace('"ask"', '"aks"'), "utf-8")
        browser.goto("/console/policy")
        browser.page("click", "button:has-text('Reload')")
        browser.wait_for("text=The reload failed")
        self.assertIn("rule uploads: 'action' must be", browser.text())

        # Both changes are in the audit log and in the audit store.
        def changes() -> list[str]:
            return [each["outcome"] for each in proxy.lines() if each["stage"] == "admin"]

        self.wait_until(lambda: changes() == ["rule-added", "policy-reload-failed"], "the records of the changes")
        store = f"sqlite:{self.directory / 'audit.db'}"

        def found() -> str:
            return run_egress("logs", "search", "--audit-store", store, "stage:admin", "ann").stdout

        self.wait_until(lambda: "ann added allow-localhost-closed-orders" in found(), "the change in the audit store")
        self.assertRegex(found(), "the policy was [0-9a-f]{64}, and is [0-9a-f]{64}")
        self.assertEqual([each for each in self.browser.problems() if "409" not in each], [])

    def test_newman_waits_for_an_approval(self) -> None:
        """A pending request appears in the open page, with its content; newman continues when it is allowed."""
        proxy = self.start()
        browser = self.browser
        browser.goto("/console/approvals")
        browser.wait_for("text=No request waits for an approval")
        newman = self.newman(proxy)
        browser.wait_for("article.approval", timeout=PATIENCE)
        text = browser.text()
        for part in ("POST", "/echo", "each upload requires an approval", '"password": "REDACTED"', ATTACK):
            self.assertIn(part, text)
        self.assertTrue(str(browser.page("title")).startswith("(1) Approvals"))
        self.assertIn("1", browser.text("nav [aria-current]"))
        self.audit("approvals")
        browser.page("click", "button:has-text('Allow for')")
        browser.wait_for("text=with a grant for the next ones")
        out, _ = newman.communicate(timeout=30)
        self.assertEqual(newman.returncode, 0, out)

        # The grant covers the next run; after it is revoked, the next run waits, and a denial ends it.
        again = self.newman(proxy)
        out, _ = again.communicate(timeout=30)
        self.assertEqual(again.returncode, 0, out)
        browser.page("click", "button:has-text('Revoke')")
        browser.wait_for("text=is revoked")
        denied = self.newman(proxy)
        browser.wait_for("article.approval", timeout=PATIENCE)
        browser.page("fill", "article.approval input[name=reason]", "not today")
        browser.page("click", "button:has-text('Deny')")
        browser.wait_for("text=1 request denied")
        out, _ = denied.communicate(timeout=30)
        self.assertEqual(denied.returncode, 1, out)
        outcomes = ["grant-added", "grant-revoked", "approval-denied"]
        self.wait_until(
            lambda: [each["outcome"] for each in proxy.lines() if each["stage"] == "admin"] == outcomes, "the changes"
        )
        # A record is written just after the response.
        reason = "denied by an approver: not today"
        self.wait_until(lambda: reason in [each["reason"] for each in proxy.records()], "the record")
        self.assertEqual(self.browser.problems(), [])

    def newman(self, proxy: Proxy) -> subprocess.Popen[str]:
        """Start newman with a collection of one upload."""
        collection = self.write("upload.postman_collection.json", json.dumps(COLLECTION))
        command = [
            *(program("node"), node_module("newman/bin/newman.js"), "run", str(collection)),
            *("--env-var", f"base={self.origins.https_url('')}", "--ssl-extra-ca-certs", str(proxy.ca)),
            *("--timeout-request", "20000"),
        ]
        env: dict[str, Any] = environment(HTTP_PROXY=proxy.url, HTTPS_PROXY=proxy.url)
        newman = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

        def end() -> None:
            if newman.poll() is None:
                newman.kill()
            newman.communicate()

        self.addCleanup(end)
        return newman
