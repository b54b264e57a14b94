"""The completion scripts in their shells: a terminal, a script, and the Tab key."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.files import make_directory
from tests.integration.processes import program

_SECONDS = 30.0
# What a user types, and the completed line.
_LINES = (
    ("egress compl", "egress completion"),
    ("egress run --authz-u", "egress run --authz-url"),
    ("egress run --mode obs", "egress run --mode observe"),
    ("egress policy check unique-", "egress policy check unique-policy.toml"),
    ("egress run --policy unique-", "egress run --policy unique-policy.toml"),
)


class Shell:
    """An interactive shell in a terminal.

    @param arguments: its command line.
    @param directory: its home and working directory.
    """

    def __init__(self, arguments: list[str], directory: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # pragma: no cover - the other process
            os.chdir(directory)
            os.execve(arguments[0], arguments, {**os.environ, "HOME": str(directory), "TERM": "dumb", "PS1": "$ "})

    def send(self, text: str) -> None:
        """Type a text."""
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> str:
        """Read the output until it contains a text; return all of it, up to the time limit without that text."""
        output, end = "", time.monotonic() + _SECONDS
        while text not in output and time.monotonic() < end:
            if select.select([self._terminal], [], [], 0.1)[0]:
                output += os.read(self._terminal, 65536).decode("utf-8", "replace")
        return output

    def close(self) -> None:
        """End the shell."""
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


class CompletionTests(SynchronousTestCase):
    """Each shell loads its script and completes a command, an option, a value and a file."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        (self.directory / "unique-policy.toml").touch()

    def script(self, shell: str, name: str) -> Path:
        """Write the script of a shell."""
        path = self.directory / name
        command = [sys.executable, "-m", "egress", "completion", shell]
        path.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return path

    def complete(self, shell: list[str], setup: str) -> None:
        """Type lines, press Tab, and expect the completed lines."""
        terminal = Shell(shell, self.directory)
        self.addCleanup(terminal.close)
        # The echo of the line has quotes, which the output of the command lacks.
        terminal.send(f"{setup}; echo RE''ADY\n")
        self.assertIn("READY", terminal.wait_for("READY"))
        for typed, expected in _LINES:
            with self.subTest(typed):
                terminal.send(f"{typed}\t")
                self.assertIn(expected, terminal.wait_for(expected))
                # Ctrl-U erases the line.
                terminal.send("\x15")

    def test_bash(self) -> None:
        script = self.script("bash", "egress.bash")
        self.complete([program("bash"), "--norc", "--noprofile", "-i"], f"source {script}")

    def test_zsh(self) -> None:
        self.script("zsh", "_egress")
        self.complete(
            [program("zsh"), "-f", "-i"],
            f"fpath=({self.directory} $fpath); autoload -U compinit; compinit -u -D",
        )

    def test_fish(self) -> None:
        """Fish prints the completions of a line itself."""
        script = self.script("fish", "egress.fish")
        for typed, expected in _LINES:
            with self.subTest(typed):
                done = subprocess.run(
                    [program("fish"), "-N", "-c", f'source {script}; complete -C "{typed}"'],
                    capture_output=True, text=True, check=True, cwd=self.directory, timeout=_SECONDS,
                )  # fmt: skip
                self.assertEqual(done.stderr, "")
                words = [line.split("\t")[0] for line in done.stdout.splitlines()]
                self.assertEqual(words, [expected.rpartition(" ")[2]])
