"""Running commands in tests."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from tests.files import make_directory


class Terminal(io.StringIO):
    """A standard stream that is a terminal."""

    def isatty(self) -> bool:
        return True


class CommandTestCase(SynchronousTestCase):
    """Runs C{egress}; has a directory for files."""

    def setUp(self) -> None:
        self.directory = make_directory(self)

    def write(self, name: str, content: bytes) -> str:
        """Write a file, and return its name."""
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def run_egress(self, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Run the command.

        @return: the exit status, standard output and standard error.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", err)
        try:
            status = cli.main(arguments, environ or {}, out, err)
        except SystemExit as end:
            status = int(end.code or 0)
        return status, out.getvalue(), err.getvalue()
