"""The page of modules is made from the code."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.modules import PAGE, page


class ModulesPageTests(SynchronousTestCase):
    """C{docs/reference/modules.md}."""

    def test_current(self) -> None:
        """If this fails, run C{python -m tests.docs.modules}."""
        self.assertEqual(PAGE.read_text(encoding="utf-8"), page())
