"""The steps that change a trust store: commands and files, which can be shown instead of executed."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs

_END = "EOF"


@attrs.frozen
class Run:
    """Run a command.

    @ivar command: the program and its arguments.
    @ivar stdin: its standard input.
    """

    command: tuple[str, ...]
    stdin: bytes = b""


@attrs.frozen
class Write:
    """Write a file with mode 0644.

    @ivar path: the file; a relative path is in the directory in which the commands run.
    @ivar content: the whole content.
    """

    path: Path
    content: bytes


@attrs.frozen
class Remove:
    """Remove a file.

    @ivar path: see L{Write}.
    """

    path: Path


@attrs.frozen
class MakeDirectory:
    """Make a directory that only its owner can access, and its parents.

    @ivar path: the directory.
    """

    path: Path


Step = Run | Write | Remove | MakeDirectory


def shell_of(step: Step) -> str:
    """Write a step as lines for a POSIX shell."""
    if isinstance(step, Run):
        return shlex.join(step.command) + (_here(step.stdin) if step.stdin else "")
    path = shlex.quote(str(step.path))
    if isinstance(step, Write):
        return f"cat > {path}{_here(step.content)}"
    return f"rm {path}" if isinstance(step, Remove) else f"mkdir -p -m 700 {path}"


def _here(content: bytes) -> str:
    return f" <<'{_END}'\n{content.decode('ascii')}{_END}"
