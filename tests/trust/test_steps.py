"""Tests for L{egress.trust.steps}."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.trust.anchors import pem_text
from egress.trust.steps import MakeDirectory, Remove, Run, Step, Write, shell_of
from tests.files import make_directory
from tests.trust.authorities import CURRENT


class ShellTests(SynchronousTestCase):
    """L{shell_of}."""

    def test_lines(self) -> None:
        for step, expected in (
            (Run(("a", "b c")), "a 'b c'"),
            (Run(("a",), b"x\n"), "a <<'EOF'\nx\nEOF"),
            (Write(Path("/a b"), b"x\n"), "cat > '/a b' <<'EOF'\nx\nEOF"),
            (Remove(Path("/a")), "rm /a"),
            (MakeDirectory(Path("/a")), "mkdir -p -m 700 /a"),
        ):
            with self.subTest(expected):
                self.assertEqual(shell_of(step), expected)

    def test_real_shell(self) -> None:
        """A shell does the same."""
        directory = make_directory(self).absolute()
        path = directory / "a b" / "it's.pem"
        pem = pem_text(CURRENT)
        steps: list[Step] = [MakeDirectory(path.parent), Write(path, pem), Run(("tee", str(directory / "copy")), pem)]
        script = "\n".join(map(shell_of, steps))
        done = subprocess.run(["sh", "-e"], input=script.encode(), capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual((path.read_bytes(), (directory / "copy").read_bytes()), (pem, pem))
        subprocess.run(["sh", "-e"], input=shell_of(Remove(path)).encode(), check=True)
        self.assertFalse(path.exists())
