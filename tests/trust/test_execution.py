"""Tests for L{egress.trust.execution}."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.trust import execution
from egress.trust.execution import Programs, StoreFault
from egress.trust.steps import MakeDirectory, Remove, Run, Step, Write
from tests.files import make_directory


class ProgramsTests(SynchronousTestCase):
    """L{Programs}, with real processes."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.programs = Programs({"PATH": os.environ["PATH"], "JAVA_TOOL_OPTIONS": "-Dx=y", "A": "b"})

    def fails(self, step: Step) -> str:
        """Return the error of a step."""
        return str(self.assertRaises(StoreFault, self.programs.execute, [step]))

    def test_find(self) -> None:
        """Programs of the administrator are found without their directories in the path."""
        self.assertEqual(Programs({"PATH": "/bin"}).find("sh"), "/bin/sh")
        self.assertIsNone(self.programs.find("no-such-program"))
        tool = self.directory / "tool"
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
        self.patch(execution, "_ALSO", (str(self.directory),))
        self.assertEqual(Programs({}).find("tool"), str(tool))

    def test_output(self) -> None:
        """A command has the environment, in English, without options for Java."""
        output = self.programs.output(("sh", "-c", 'cat; echo "$A $LC_ALL $JAVA_TOOL_OPTIONS."'), b"in ")
        self.assertEqual(output, b"in b C .\n")

    def test_failure(self) -> None:
        for script, expected in (
            ("echo out; echo one >&2; echo two >&2; exit 3", "sh failed with status 3: two"),
            ("echo keytool error; exit 1", "sh failed with status 1: keytool error"),
            ("exit 1", "sh failed with status 1: no output"),
            (
                "echo SEC_ERROR_BAD_PASSWORD; exit 1",
                "sh failed with status 1: SEC_ERROR_BAD_PASSWORD; the database has a",
            ),
            ("echo the password was incorrect; exit 1", "incorrect; set --java-password"),
        ):
            with self.subTest(script):
                self.assertIn(expected, self.fails(Run(("sh", "-c", script))))
        expected = "no-such-program: No such file or directory; install it"
        self.assertEqual(self.fails(Run(("no-such-program",))), expected)

    def test_timeout(self) -> None:
        self.patch(execution, "_SECONDS", 0.01)
        self.assertIn("no result within", self.fails(Run(("sh", "-c", "read line < /dev/zero; exec sleep 60"))))

    def test_files(self) -> None:
        """Relative paths are in a private directory, in which the commands run, and which is removed."""
        copy, new = self.directory / "copy", self.directory / "a" / "b"
        steps: list[Step] = [
            MakeDirectory(new),
            Write(Path("ca.pem"), b"text"),
            Run(("sh", "-c", f"cp ca.pem '{copy}'; stat -c %a . > '{new}/mode'; pwd > '{new}/pwd'")),
            Remove(Path("ca.pem")),
        ]
        self.programs.execute(steps)
        self.assertEqual(copy.read_bytes(), b"text")
        self.assertEqual(copy.stat().st_mode & 0o777, 0o644)
        self.assertEqual((new / "mode").read_text(), "700\n")
        self.assertFalse(os.path.exists((new / "pwd").read_text().strip()))
        self.assertEqual(new.stat().st_mode & 0o777, 0o700)

    def test_later_steps(self) -> None:
        """Nothing follows a step that fails."""
        path = self.directory / "later"
        self.assertRaises(StoreFault, self.programs.execute, [Run(("false",)), Write(path, b"")])
        self.assertFalse(path.exists())

    def test_file_errors(self) -> None:
        path = self.directory / "absent" / "file"
        self.assertEqual(self.fails(Remove(path)), f"{path}: No such file or directory; make it writable")
