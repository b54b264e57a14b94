"""Tests for L{egress.cli.main}."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.cli import main as cli
from egress.cli.errors import CommandFailed, Misused
from egress.config.model import ConfigError
from egress.runtime.build import build_name

ROOT = Path(__file__).parent.parent.parent


class CommandLineTests(SynchronousTestCase):
    """Behavior common to all commands."""

    def run_command(
        self, *arguments: str, groups: Mapping[str, Iterable[cli.Addition]] | None = None
    ) -> tuple[int, str, str]:
        """Run the command.

        @return: the exit status, standard output and standard error.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            status = cli.main(arguments, {}, groups=groups)
        except SystemExit as end:
            status = int(end.code or 0)
        return status, out.getvalue(), err.getvalue()

    def failing(self, error: BaseException) -> tuple[int, str, str]:
        """Run a command that fails with an error."""

        def fail(*_: object) -> None:
            raise error

        def add(commands: Any) -> None:
            commands.add_parser("fail").set_defaults(run=fail)

        return self.run_command("fail", groups={"": [add]})

    def test_version(self) -> None:
        self.assertEqual(self.run_command("--version"), (0, f"egressproxy {__version__} ({build_name()} build)\n", ""))

    def test_help(self) -> None:
        """Each command has a description, at each level."""
        for arguments in (["--help"], ["ca", "--help"], *(["ca", name, "--help"] for name in ("show", "export"))):
            status, out, _ = self.run_command(*arguments)
            self.assertEqual(status, 0)
            self.assertTrue(out.startswith(f"usage: egress {' '.join(arguments[:-1])}".rstrip()), out)
        out = self.run_command("--help")[1]
        for title in cli.COMMANDS:
            self.assertIn(f"\n{title}:\n", out)
        self.assertRegex(out, r"\n  ca +manage the CA\n")

    def test_loaded(self) -> None:
        """A command line loads the module of its command only; an unknown command loads all, to name a similar one."""
        self.assertEqual([len(found) for found in cli.load("ca").values()].count(1), 1)
        self.assertEqual(sum(len(found) for found in cli.load("ca").values()), 1)
        everything = sum(map(len, cli.COMMANDS.values()))
        for name in (None, "novel"):
            self.assertEqual(sum(len(found) for found in cli.load(name).values()), everything)
        code = "import sys; from egress.cli.main import load; load('ca'); print('egress.cli.run' in sys.modules)"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout, "False\n")

    def test_twistd(self) -> None:
        """A command line of twistd gets a hint."""
        for arguments in (["-n"], ["egressproxy", "-n"], ["egressauthz", "--policy", "policy.toml"]):
            status, out, err = self.run_command(*arguments)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("twistd -n egressproxy", err)

    def test_invalid_command_line(self) -> None:
        """An invalid command line has exit status 2."""
        for arguments in ([], ["novel"], ["ca"], ["ca", "novel"], ["ca", "export"], ["ca", "show", "--novel"]):
            status, out, err = self.run_command(*arguments)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("usage: egress", err)

    def test_failure(self) -> None:
        """Every error is one line."""
        for error in (CommandFailed("this\ncannot be"), ConfigError("this", "", "cannot be")):
            status, out, err = self.failing(error)
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(err.replace(":", ""), "egress this cannot be\n")

    def test_status(self) -> None:
        """The statuses for a difference, for misuse, and for Ctrl-C as in a shell."""
        self.assertEqual(self.failing(Misused("this cannot be")), (2, "", "egress: this cannot be\n"))
        self.assertEqual(self.failing(KeyboardInterrupt()), (130, "", ""))

        def add(commands: Any) -> None:
            commands.add_parser("differ").set_defaults(run=lambda *_: 1)

        self.assertEqual(self.run_command("differ", groups={"": [add]}), (1, "", ""))

    def test_closed_output(self) -> None:
        """A reader that closes the pipe early causes no traceback."""
        null: list[int] = []
        self.patch(os, "dup2", lambda source, target: null.append(target))
        self.assertEqual(self.failing(BrokenPipeError()), (1, "", ""))
        self.assertEqual(null, [1])

    def test_module(self) -> None:
        """C{python -m egress} is the same."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "egress", "--version"], env=environment, capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, f"egressproxy {__version__} ({build_name()} build)\n"))
