"""Tests for L{egress.client_settings.browser}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.browser import browser_flags, with_browser_flags
from tests.client_settings.test_variables import PROXY

PROFILE = Path("/t/browser")


class BrowserTests(SynchronousTestCase):
    """The flags of browsers."""

    def test_flags(self) -> None:
        """The proxy of an earlier option is not bypassed for loopback hosts."""
        flags = browser_flags(PROXY, "abc=")
        self.assertEqual(flags[:2], [f"--proxy-server={PROXY}", "--proxy-bypass-list=<-loopback>"])
        self.assertEqual(flags[2:], ["--ignore-certificate-errors-spki-list=abc="])
        self.assertEqual(browser_flags(PROXY, None), flags[:2])

    def test_browsers(self) -> None:
        """The flags of the user are last, so that they win."""
        for name in ("chromium", "/usr/bin/google-chrome-stable", "chrome", "chrome-headless-shell", "microsoft-edge"):
            command = with_browser_flags([name, "--a", "https://a.test"], ["--b"], PROFILE)
            self.assertEqual(command, [name, "--b", f"--user-data-dir={PROFILE}", "--a", "https://a.test"])

    def test_a_profile_of_the_user(self) -> None:
        command = with_browser_flags(["chromium", "--user-data-dir=/own"], ["--b"], PROFILE)
        self.assertEqual(command, ["chromium", "--b", "--user-data-dir=/own"])

    def test_other_programs(self) -> None:
        for name in ("curl", "chromedriver", "chromium.sh", "my-chrome"):
            self.assertEqual(with_browser_flags([name, "x"], ["--b"], PROFILE), [name, "x"])
