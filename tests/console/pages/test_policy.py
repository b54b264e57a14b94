"""Tests for L{egress.console.pages.policy}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.logger import capturedLogs

from egress.admin.api import Unanswered
from egress.config.model import ConfigError
from egress.model.explanation import ExplainRequest
from egress.store.interfaces import RuleUse, StoreError
from tests.console.browser import NOW, VIEWER, record
from tests.console.policies import POLICY, PolicyConsoleTestCase

ATTACK = "<script>alert(1)</script>\"'"
EXPLANATION = {
    "method": "GET",
    "url": "https://shop.test/",
    "verdict": "deny",
    "reason": ATTACK,
    "decidedBy": "policy p.toml",
    "ruleId": "no-deletes",
    "status": 403,
    "code": "denied",
    "steps": [
        {"name": "request", "outcome": "ok", "text": "GET https://shop.test/", "seconds": 0.001, "details": [ATTACK]},
        {
            "name": "decision",
            "outcome": "no",
            "text": ATTACK,
            "seconds": 0.002,
            "details": [],
            "rules": [
                {
                    "ruleId": "shop",
                    "verdict": "allow",
                    "matched": False,
                    "failed": "methods",
                    "where": "p.toml:4",
                    "doubt": ATTACK,
                },
                {
                    "ruleId": "no-deletes",
                    "verdict": "deny",
                    "matched": True,
                    "failed": None,
                    "where": "p.toml:10",
                    "doubt": None,
                },
            ],
        },
    ],
}


class RulesTests(PolicyConsoleTestCase):
    """The rules with their use."""

    def test_rules(self) -> None:
        self.store.uses = {"shop": RuleUse(1234, NOW - 60), "gone": RuleUse(3, NOW - 7200), "default": RuleUse(5, NOW)}
        page = self.console().get("/console/policy?since=7d").text
        for expected in (
            "1 shop ✓ allow 1 234 60 s ago to host shop.test with method GET policy.toml:4",
            "2 no-deletes nothing is deleted from here ✕ deny 0 ! never with method DELETE policy.toml:11",
            "default ✕ deny 5 0.0 s ago a request that no rule matches",
            "2 without a match",
            "Rules that are not in the policy any more they decided in the last 7 days Rule Matches Last match gone 3",
            "Loaded 2 h ago – the same as on disk",
        ):
            self.assertIn(expected, page)
        self.assertEqual(self.store.searches[-1].since, NOW - 7 * 86400)

    def test_unused(self) -> None:
        self.store.uses = {"shop": RuleUse(1, NOW)}
        page = self.console().get("/console/policy?only=unused").text
        self.assertIn("Rules without a match", page)
        self.assertNotIn("to host shop.test", page)
        self.assertIn("no-deletes", page)

    def test_pages(self) -> None:
        rules = "".join(f'[[rules]]\nname = "r{number}"\naction = "allow"\n' for number in range(450))
        self.write(f"version = 1\n{rules}")
        self.reload()
        browser = self.console()
        page = browser.get("/console/policy")
        self.assertIn('href="/console/policy?since=24h&amp;from=200"', page.body)
        self.assertNotIn("Previous rules", page.text)
        page = browser.get("/console/policy?since=24h&from=400")
        self.assertIn("401 r400", page.text)
        self.assertNotIn("Next rules", page.text)
        self.assertEqual(browser.get("/console/policy?from=x").status, 200)

    def test_without_a_store(self) -> None:
        page = self.console(has_store=False).get("/console/policy").text
        self.assertIn("The proxy has no audit store, so matches are not known.", page)
        self.assertIn("shop ✓ allow – – to host shop.test", page)

    def test_store_error(self) -> None:
        self.store.error = StoreError("/a.db: disk I/O error")
        browser = self.console()
        self.assertIn("The audit store cannot be read: /a.db: disk I/O error", browser.get("/console/policy").text)
        self.assertIn("cannot be read", browser.get("/console/policy/suggestion").text)
        self.assertEqual(browser.get("/console/policy/suggestion.toml").status, 503)

    def test_files_that_changed(self) -> None:
        browser = self.console()
        self.write(POLICY + "# more\n")
        self.assertIn("The files have another policy than the one in use", browser.get("/console/policy").text)
        self.write(POLICY.replace('"deny"', '"dny"'))
        page = browser.get("/console/policy").text
        self.assertIn("policy.toml:13: rule no-deletes: 'action' must be", page)
        self.assertIn("nothing is deleted from here", page, "the rules in use")

    def test_starter(self) -> None:
        from egress.policy.parse.load import load_starter

        self.rules = load_starter()
        page = self.console(config={"policy": None}).get("/console/policy")
        self.assertEqual(page.status, 200)
        self.assertIn("The starter policy of the package", page.text)

    def test_policy_of_a_url(self) -> None:
        page = self.console(config={"policy": "https://policies.test/policy.toml"}).get("/console/policy")
        self.assertEqual(page.status, 200)
        self.assertNotIn("The starter policy of the package", page.text)
        self.assertIn("SHA-256", page.text)

    def test_authorization_service(self) -> None:
        self.rules = None
        self.store.uses = {"s1": RuleUse(7, NOW)}
        browser = self.console(config={"policy": None, "authz_url": "http://127.0.0.1:9191/validate"})
        page = browser.get("/console/policy").text
        self.assertIn("An authorization service decides", page)
        self.assertIn("s1 7 2027-01-15 08:00:00 UTC", page)

    def test_no_worker(self) -> None:
        self.rules = None
        page = self.console(config={"workers": 2}).get("/console/policy")
        self.assertEqual(page.status, 503)
        self.assertIn("no worker responds", page.text)

    def test_escapes(self) -> None:
        self.write(
            'version = 1\n[[rules]]\nname = "x"\naction = "deny"\n'
            "reason = '<script>alert(1)</script>'\npaths = ['/<script>alert(2)</script>']\n"
        )
        self.reload()
        self.store.uses = {ATTACK: RuleUse(1, NOW)}
        self.store.records = [record(url=f"https://a.test/{ATTACK}", verdict="allow", outcome="forwarded")]
        browser = self.console()
        for path in ("/console/policy", "/console/policy/suggestion", f"/console/policy/try?url={'%3Cscript%3Ealert'}"):
            page = browser.get(path)
            self.assertEqual(page.status, 200)
            self.assertNotIn("<script>alert", page.body)


class ReloadTests(PolicyConsoleTestCase):
    """The reload."""

    def test_reload(self) -> None:
        browser = self.console()
        found = browser.post("/console/policy/reload")
        self.assertEqual((found.status, found.field("location")), (303, "/console/policy?done=reloaded"))
        self.assertEqual(self.reloads, 1)
        self.assertIn("were read again", browser.get("/console/policy?done=reloaded").text)

    def test_invalid_policy(self) -> None:
        """The page shows the error, and the policy in use stays."""
        error = ConfigError("--policy", "", "policy.toml:12: rule no-deletes: 'action' must be")
        browser = self.console(reload=lambda: fail(error))
        with capturedLogs():
            page = browser.post("/console/policy/reload")
        self.assertEqual(page.status, 409)
        self.assertIn("The reload failed, and the previous policy stays in use.", page.text)
        self.assertIn("policy.toml:12: rule no-deletes", page.text)
        self.assertIn("nothing is deleted from here", page.text)

    def test_who_may(self) -> None:
        """A viewer, and a form without its token, reload nothing."""
        viewer = self.console(token=VIEWER)
        self.assertNotIn("Reload", viewer.get("/console/policy").text)
        self.assertEqual(viewer.post("/console/policy/reload").status, 403)
        self.assertEqual(self.console().post("/console/policy/reload", {"csrf": "x"}).status, 403)
        self.assertEqual(self.reloads, 0)


class TryTests(PolicyConsoleTestCase):
    """A request to try."""

    FORM = {
        "method": "DELETE",
        "url": "https://shop.test/x",
        "headers": "Accept: a/b\n\nX: y",
        "body": "",
        "client": "",
    }

    def post(self, **form: Any) -> Any:
        browser = self.console()
        browser.backend.results["explain"] = EXPLANATION
        self.backend = browser.backend
        return browser.post("/console/policy/try", {**self.FORM, **form})

    def test_form(self) -> None:
        page = self.console().get("/console/policy/try?method=PUT&url=https%3A%2F%2Fa.test%2F")
        self.assertIn('value="https://a.test/"', page.body)
        self.assertIn('value="PUT"', page.body)

    def test_explained(self) -> None:
        page = self.post()
        self.assertEqual(page.status, 200)
        (call,) = [call for call in self.backend.calls if call[0] == "explain"]
        self.assertEqual(call[1], ExplainRequest("DELETE", "https://shop.test/x", ((b"Accept", b"a/b"), (b"X", b"y"))))
        self.assertIn("Response 403 (denied)", page.text)
        self.assertIn("no-deletes p.toml:10 deny", page.text)
        self.assertIn("shop p.toml:4 does not match: methods", page.text)
        self.assertNotIn("<script>alert", page.body)
        self.assertNotIn("which is not in use", page.text)

    def test_changed_files(self) -> None:
        """The policy in the files decides as well, if it differs and is valid."""
        self.write(POLICY.replace("DELETE", "PURGE").replace("GET", "DELETE"))
        page = self.post()
        self.assertIn("✓ allow by the policy in the files, which is not in use", page.text)
        self.write("version = 2")
        self.assertNotIn("which is not in use", self.post().text)

    def test_invalid(self) -> None:
        page = self.post(headers="no colon")
        self.assertEqual(page.status, 400)
        self.assertIn("write each header field as a name and a value", page.text)
        self.assertIn('value="https://shop.test/x"', page.body)

    def test_unanswered(self) -> None:
        browser = self.console()
        browser.backend.results["explain"] = fail(Unanswered("the worker did not respond"))
        page = browser.post("/console/policy/try", self.FORM)
        self.assertEqual(page.status, 503)
        self.assertIn("the worker did not respond", page.text)

    def test_viewer(self) -> None:
        """A viewer can try a request, because this changes nothing; the form needs its token and its origin."""
        browser = self.console(token=VIEWER)
        browser.backend.results["explain"] = EXPLANATION
        self.assertIn("Explain", browser.get("/console/policy/try").text)
        page = browser.post("/console/policy/try", self.FORM)
        self.assertEqual(page.status, 200)
        self.assertIn("Response 403 (denied)", page.text)
        self.assertEqual(browser.post("/console/policy/try", {**self.FORM, "csrf": "x"}).status, 403)
        self.assertEqual(browser.request("POST", "/console/policy/try", b"method=GET").status, 403)
        self.assertEqual([call[0] for call in browser.backend.calls].count("explain"), 1)
        self.assertEqual(browser.backend.changes, [])


class SuggestionTests(PolicyConsoleTestCase):
    """The suggested policy."""

    def test_suggestion(self) -> None:
        forwarded = {"verdict": "allow", "outcome": "forwarded", "method": "GET"}
        self.store.records = [
            record(url="https://api.test/v1/items", **forwarded),
            record(url="https://closed.test/", verdict="deny"),
            record(verdict="rejected"),
        ]
        browser = self.console()
        page = browser.get("/console/policy/suggestion?since=1h")
        self.assertIn("This policy allows 1 request to 1 host", page.text)
        self.assertIn('paths = ["/v1/items"]', page.text)
        self.assertIn("1 of 2 recorded requests would be decided differently", page.text)
        self.assertIn("GET https://api.test/v1/items", page.text)
        self.assertNotIn("closed.test", page.text)
        self.assertIn('- name = "shop"'.replace("- ", "-"), page.text)
        found = browser.get("/console/policy/suggestion.toml?since=1h")
        self.assertIn('hosts = ["api.test"]', found.body)
        self.assertEqual(found.field("content-disposition"), 'attachment; filename="policy.toml"')

    def test_nothing(self) -> None:
        browser = self.console()
        self.assertIn("No request was forwarded in the last day", browser.get("/console/policy/suggestion").text)
        self.assertEqual(browser.get("/console/policy/suggestion.toml").status, 404)
        browser = self.console(has_store=False)
        self.assertIn("The proxy has no audit store", browser.get("/console/policy/suggestion").text)

    def test_without_a_policy(self) -> None:
        self.rules = None
        self.store.records = [record(verdict="allow", outcome="forwarded")]
        browser = self.console(config={"policy": None, "authz_url": "http://127.0.0.1:9191"})
        page = browser.get("/console/policy/suggestion").text
        self.assertIn('hosts = ["api.example"]', page)
        self.assertNotIn("Compared with", page)


class ShadowTests(PolicyConsoleTestCase):
    """The shadow policy, compared for recorded requests."""

    def page(self, text: str | None, **changes: Any) -> str:
        path = None
        if text is not None:
            path = self.path.with_name("shadow.toml")
            path.write_text(text)
        self.store.records = [
            record(method="GET", url="https://shop.test/x", verdict="allow", outcome="forwarded"),
            record(method="GET", url="https://other.test/"),
        ]
        console = self.console(config={"shadow_policy": path, **changes.pop("config", {})}, **changes)
        found: str = console.get("/console/policy/shadow?since=1h").text
        return found

    def test_difference(self) -> None:
        page = self.page(POLICY.replace("shop.test", "other.test"))
        self.assertIn("2 of 2 recorded requests of the last hour would be decided differently.", page)
        self.assertIn("1 GET https://shop.test/x 10.0.0.1 ✓ allow shop ✕ deny default", page)
        self.assertIn("would be decided as now", self.page(POLICY + "# more"))

    def test_without_a_comparison(self) -> None:
        self.assertIn("There is no shadow policy", self.page(None))
        self.assertIn("The proxy has no audit store", self.page(POLICY, has_store=False))
        self.assertIn("shadow.toml: is not TOML", self.page("x"))
        self.store.error = StoreError("disk I/O error")
        self.assertIn("The audit store cannot be read: disk I/O error", self.page(POLICY))
        self.store.error, self.rules = None, None
        config = {"policy": None, "authz_url": "http://127.0.0.1:9191"}
        self.assertIn("An authorization service decides", self.page(POLICY, config=config))
