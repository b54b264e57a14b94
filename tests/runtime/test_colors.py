"""Tests for L{egress.runtime.colors}."""

from __future__ import annotations

import io

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.colors import Color, Painter
from tests.cli.running import Terminal


class PainterTests(SynchronousTestCase):
    """Colors are for terminals, unless variables say otherwise."""

    def test_variables(self) -> None:
        for environ, on_terminal, in_file in (
            ({}, True, False),
            ({"TERM": "xterm"}, True, False),
            ({"TERM": "dumb"}, False, False),
            ({"NO_COLOR": "1"}, False, False),
            ({"NO_COLOR": ""}, True, False),
            ({"FORCE_COLOR": "1"}, True, True),
            ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
            ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ):
            with self.subTest(environ):
                self.assertEqual(Painter.of(Terminal(), environ).colored, on_terminal)
                self.assertEqual(Painter.of(io.StringIO(), environ).colored, in_file)

    def test_paint(self) -> None:
        self.assertEqual(Painter(True).paint("x", Color.RED), "\x1b[31mx\x1b[0m")
        self.assertEqual(Painter(False).paint("x", Color.RED), "x")
