"""Tests for L{egress.launch.client}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.browser import browser_flags
from egress.launch.client import Client
from tests.client_settings.test_variables import FILES, PROXY


class ClientTests(SynchronousTestCase):
    """A command that uses a proxy."""

    def test_arguments(self) -> None:
        """A browser has its profile next to the files of the command."""
        client = Client(PROXY, FILES, "abc=")
        expected = ["chromium", *browser_flags(PROXY, "abc="), "--user-data-dir=/t/browser", "x"]
        self.assertEqual(client.arguments(["chromium", "x"]), expected)
        self.assertEqual(client.arguments(["curl", "x"]), ["curl", "x"])

    def test_environment(self) -> None:
        found = Client(PROXY, FILES).environment({"A": "b", "NO_PROXY": "*"})
        self.assertEqual((found["A"], found["HTTP_PROXY"], found.get("NO_PROXY")), ("b", PROXY, None))
        self.assertEqual(found["EGRESS_CHROMIUM_FLAGS"].split(), browser_flags(PROXY, None))
