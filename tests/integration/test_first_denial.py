"""The first command of the README, in a real terminal: its output is that in the README, and that in the image."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.first_denial import as_text, folded, in_image, in_readme, output, to_image
from tests.integration.processes import program


class FirstDenialTests(SynchronousTestCase):
    """Run C{python -m tests.docs.first_denial} to write them again."""

    def test_current(self) -> None:
        program("curl")
        content = output()
        self.assertEqual(in_readme(), as_text(content))
        self.assertEqual(in_image(), folded(content))
        self.assertIn("<svg", to_image(content))
