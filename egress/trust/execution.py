"""Runs the commands and steps for trust stores."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from egress.runtime.safe_files import replace_file
from egress.trust.outputs import last_line
from egress.trust.steps import MakeDirectory, Remove, Run, Step, Write

_SECONDS: Final = 120.0
# Users without privileges often lack these directories.
_ALSO: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# Options for Java that change which certificates it reads, or what it prints.
_WITHOUT: Final = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")


class StoreFault(Exception):
    """A trust store cannot be read or changed; the text is one line with the fix."""


class Programs:
    """The programs of the machine.

    @ivar environ: the environment to run them in.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    @property
    def _path(self) -> str:
        return os.pathsep.join([self.environ.get("PATH", os.defpath), *_ALSO])

    def find(self, name: str) -> str | None:
        """Return the path of a program; C{None} if it does not exist."""
        return shutil.which(name, path=self._path)

    def output(self, command: tuple[str, ...], stdin: bytes = b"", directory: str | None = None) -> bytes:
        """Run a command, and return its output.

        @raise StoreFault: if it does not exist, or fails.
        """
        environ = {name: text for name, text in self.environ.items() if name not in _WITHOUT}
        try:
            done = subprocess.run(  # noqa: S603 -- the commands of this package
                command,
                input=stdin,
                capture_output=True,
                cwd=directory,
                env={**environ, "PATH": self._path, "LC_ALL": "C"},
                timeout=_SECONDS,
                check=False,
            )
        except OSError as error:
            raise StoreFault(f"{command[0]}: {error.strerror}; install it") from error
        except subprocess.TimeoutExpired as error:
            raise StoreFault(f"{command[0]}: no result within {_SECONDS:.0f} seconds; run it by hand") from error
        if done.returncode:
            # keytool writes its errors to standard output.
            text = last_line(done.stderr, done.stdout)
            raise StoreFault(f"{command[0]} failed with status {done.returncode}: {text}{_hint(text)}")
        return done.stdout

    def execute(self, steps: Iterable[Step]) -> None:
        """Execute steps.  Relative paths are in a private temporary directory.

        @raise StoreFault: if one of them fails; the later ones are not executed.
        """
        with tempfile.TemporaryDirectory(prefix="egress-trust-") as directory:
            for step in steps:
                try:
                    self._execute(step, directory)
                except OSError as error:
                    raise StoreFault(f"{error.filename}: {error.strerror}; make it writable") from error

    def _execute(self, step: Step, directory: str) -> None:
        if isinstance(step, Run):
            self.output(step.command, step.stdin, directory)
        elif isinstance(step, MakeDirectory):
            _make(step.path)
        elif isinstance(step, Write):
            replace_file(Path(directory, step.path), step.content, mode=0o644)
        else:
            assert isinstance(step, Remove)
            Path(directory, step.path).unlink()


def _hint(text: str) -> str:
    """Return the fix for an error of C{certutil} or C{keytool}, if it does not name one."""
    if "SEC_ERROR_BAD_PASSWORD" in text:
        return "; the database has a primary password: import the CA in the settings of the browser"
    if "password was incorrect" in text:
        return "; set --java-password"
    return ""


def _make(path: Path) -> None:
    if not path.parent.exists():
        _make(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
