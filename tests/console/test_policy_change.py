"""Tests for L{egress.console.policy_change}."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.logger import capturedLogs

from egress.admin.api import Unanswered
from egress.config.model import ConfigError
from egress.model.change import ChangeKind
from tests.console.policies import POLICY, PolicyConsoleTestCase

RELOAD = "/console/policy/reload"


class ReloadTests(PolicyConsoleTestCase):
    """Each reload leaves a record."""

    def test_changed_policy(self) -> None:
        browser = self.console()
        assert self.rules is not None
        before = self.rules.digest
        self.write(POLICY + "# changed\n")
        browser.post(RELOAD)
        (change,) = browser.backend.changes
        self.assertEqual(change.kind, ChangeKind.POLICY_RELOADED)
        self.assertNotEqual(before, self.rules.digest)
        self.assertIn(f"the policy was {before}, and is {self.rules.digest}", change.text)
        actor = change.actor
        self.assertEqual((actor.role, actor.address, actor.port, actor.place), ("admin", "127.0.0.1", 40000, "console"))

    def test_same_policy(self) -> None:
        browser = self.console()
        browser.post(RELOAD)
        assert self.rules is not None
        self.assertIn(f"are reloaded; the policy remains {self.rules.digest}", browser.backend.changes[0].text)

    def test_failure(self) -> None:
        browser = self.console(reload=lambda: fail(ConfigError("--policy", "", "policy.toml:12: no")))
        with capturedLogs():
            browser.post(RELOAD)
        (change,) = browser.backend.changes
        self.assertEqual(change.kind, ChangeKind.RELOAD_FAILED)
        self.assertIn("the reload failed: ", change.text)
        self.assertIn("policy.toml:12: no; the policy remains ", change.text)

    def test_unknown_policy(self) -> None:
        """A reload is possible while no worker responds, and with an authorization service."""
        browser = self.console()
        self.patch(browser.sources.policies, "in_use", lambda: fail(Unanswered("no worker")))
        browser.post(RELOAD)
        self.rules = None
        other = self.console(config={"policy": None, "authz_url": "http://127.0.0.1:9191"})
        other.post(RELOAD)
        for each in (browser, other):
            self.assertEqual([change.text for change in each.backend.changes], [TEXT])


TEXT = "the policy and the certificates are reloaded"
