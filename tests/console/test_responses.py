"""Tests for L{egress.console.responses}; the tests of the site use the rest."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.page import Refused
from egress.console.responses import text_of


class TextTests(SynchronousTestCase):
    """Paths of requests."""

    def test_text(self) -> None:
        self.assertEqual(text_of(b"/console/a%20b"), "/console/a%20b")
        for path in (b"/%ff", b"/\xff", b"/%C3%28"):
            with self.subTest(path), self.assertRaises(Refused):
                text_of(path)
