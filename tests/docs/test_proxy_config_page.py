"""The page of the configuration's fields is made from the code."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.proxy_config import PAGE, page


class ProxyConfigPageTests(SynchronousTestCase):
    """C{docs/reference/proxy-config.md}."""

    def test_current(self) -> None:
        """If this fails, run C{python -m tests.docs.proxy_config}."""
        self.assertEqual(PAGE.read_text(encoding="utf-8"), page(), "run: python -m tests.docs.proxy_config")

    def test_rows(self) -> None:
        text = page()
        self.assertIn("| `mode` | `Mode` | `'enforce'` | `--mode` |", text)
        self.assertIn("| `body` | `int` | `16777216` | `--body-limit` |", text)
        self.assertIn("| `policy` | `Path \\| PolicyUrl \\| None` | `None` | `--policy` |", text)
