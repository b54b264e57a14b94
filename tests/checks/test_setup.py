"""Tests for L{egress.checks.setup}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.setup import shown_proxy, with_credentials
from tests.doctor.setups import setup


class SetupTests(SynchronousTestCase):
    """The setup, and its URLs."""

    def test_url(self) -> None:
        self.assertEqual(setup().url, "https://egressproxy.invalid/")
        self.assertEqual(setup(https=False).url, "http://egressproxy.invalid/")

    def test_credentials_are_not_shown(self) -> None:
        self.assertEqual(shown_proxy("http://ci:hunter2@proxy.test:1"), "http://NAME:PASSWORD@proxy.test:1")
        self.assertEqual(shown_proxy("http://ci:a@b@proxy.test:1"), "http://NAME:PASSWORD@proxy.test:1")
        self.assertEqual(shown_proxy("http://proxy.test:1"), "http://proxy.test:1")

    def test_placeholders(self) -> None:
        for proxy in ("https://proxy.test:1", "https://NAME:PASSWORD@proxy.test:1"):
            self.assertEqual(with_credentials(proxy), "https://NAME:PASSWORD@proxy.test:1")

    def test_the_environment_is_not_in_the_repr(self) -> None:
        self.assertNotIn("hunter2", repr(setup({"TOKEN": "hunter2"})))
