"""A policy in a file, and a console that shows it, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.policies import LocalPolicies
from egress.config.model import ProxyConfig
from egress.policy.parse.load import load_policy
from egress.policy.rules import RuleSet
from egress.store.interfaces import RuleUse
from tests.console.browser import ADMIN, NOW, VIEWER, ConsoleBrowser, FakeStore
from tests.files import make_directory

POLICY = """# The policy of the team.
version = 1

[[rules]]
name = "shop"
action = "allow"
hosts = ["shop.test"]
methods = ["GET"]

# Nobody deletes.
[[rules]]
name = "no-deletes"
action = "deny"
reason = "nothing is deleted from here"
methods = ["DELETE"]

[[rules]]
name = "unused"
action = "ask"
reason = "look at it"
hosts = ["<b>.test"]
""".replace("<b>", "b")


class PolicyStore(FakeStore):
    """An audit store with the uses of rules."""

    uses: Mapping[str, RuleUse] = {}

    def rule_uses(self, given: Any) -> Mapping[str, RuleUse]:
        self.searches.append(given)
        if self.error is not None:
            raise self.error
        return self.uses


class PolicyConsoleTestCase(SynchronousTestCase):
    """Base: a console that shows a policy file.

    @ivar rules: the policy that is in use; C{None}: something else decides.
    @ivar loaded: when it was loaded.
    """

    text = POLICY

    def setUp(self) -> None:
        self.path = make_directory(self).absolute() / "policy.toml"
        self.path.write_text(self.text, "utf-8")
        self.rules: RuleSet | None = load_policy(self.path)
        self.loaded = NOW - 7200
        self.store = PolicyStore()
        self.reloads = 0

    def console(self, *, token: str = ADMIN, config: dict[str, Any] | None = None, **more: Any) -> ConsoleBrowser:
        """Sign in to a console."""
        values: dict[str, Any] = {
            "admin": "tcp:9099",
            "admin_token": ADMIN,
            "admin_viewer_token": VIEWER,
            "policy": self.path,
            **(config or {}),
        }
        browser = ConsoleBrowser(
            config=ProxyConfig(**values),
            store=self.store,
            **{
                "policies": LocalPolicies(lambda: None if self.rules is None else (self.rules, self.loaded)),
                "reload": self.reload,
                **more,
            },
        )
        browser.sign_in(token)
        return browser

    def reload(self) -> Any:
        """Load the policy file."""
        self.reloads += 1
        self.rules, self.loaded = load_policy(self.path), NOW
        return succeed(None)

    def write(self, text: str, name: str = "policy.toml") -> Path:
        """Write a file next to the policy."""
        path = self.path.parent / name
        path.write_text(text, "utf-8")
        return path
