"""The output of a command: text for a terminal, and files that are written as a whole or not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from egress.cli.errors import Misused
from egress.runtime.safe_files import replace_file

STDOUT: Final = "-"
"""The name that stands for standard output."""


def write_file(path: Path, text: str) -> None:
    """Write a file as a whole; one that was there keeps its mode.

    @raise Misused: when it cannot be written.
    """
    try:
        replace_file(path, text.encode("utf-8"))
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}; name a file that can be written to") from error


def plain(text: str) -> str:
    """Write what a terminal would obey, or show in another place, as an escape: clients choose their URLs and names."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
