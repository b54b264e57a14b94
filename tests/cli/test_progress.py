"""Tests for L{egress.cli.progress}."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import progress as progress_module
from egress.cli.progress import Progress, progress
from tests.cli.running import Terminal


class Bar:
    """A bar that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def add_task(self, what: str, total: float | None, completed: float) -> int:
        self.calls.append((what, total, completed))
        return 7

    def start(self) -> None:
        self.calls.append(("start",))

    def update(self, task: int, completed: float) -> None:
        self.calls.append((task, completed))

    def stop(self) -> None:
        self.calls.append(("stop",))


class ProgressTests(SynchronousTestCase):
    """A bar appears when a task takes long."""

    def setUp(self) -> None:
        self.now = 0.0
        self.bar = Bar()

    def test_long(self) -> None:
        running = Progress("reading", 10, lambda: self.bar, lambda: self.now)
        running.advance(1)
        self.assertEqual(self.bar.calls, [])
        self.now = 0.5
        running.advance(2)
        running.advance()
        running.close()
        self.assertEqual(self.bar.calls, [("reading", 10, 3), ("start",), (7, 4), ("stop",)])

    def test_short(self) -> None:
        running = Progress("reading", None, lambda: self.bar, lambda: self.now)
        running.advance(10)
        running.close()
        self.assertEqual(self.bar.calls, [])

    def test_terminals(self) -> None:
        """Only a terminal that can move its cursor gets a bar."""
        self.patch(progress_module, "_PATIENCE", 0)
        for stream, environ, shown in (
            (Terminal(), {}, True),
            (Terminal(), {"TERM": "dumb"}, False),
            (io.StringIO(), {}, False),
        ):
            with self.subTest(environ), progress("reading", 2, stream, environ) as running:
                running.advance()
            self.assertEqual("reading" in stream.getvalue(), shown, repr(stream.getvalue()))

    def test_imports(self) -> None:
        """The library is loaded only with a bar, because it slows the start of every command."""
        code = (
            "import sys; from egress.cli.main import load; load(); "
            "print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "[]\n")
