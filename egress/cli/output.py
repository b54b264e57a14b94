"""The output of commands: text for a terminal, and files that are written atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli.errors import Misused
from egress.runtime.safe_files import replace_file

STDOUT: Final = "-"
"""The name that stands for standard output."""


def write_file(path: Path, text: str) -> None:
    """Write a file atomically; an existing file keeps its mode.

    @raise Misused: when it cannot be written.
    """
    try:
        replace_file(path, text.encode("utf-8"))
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}; specify a writable file") from error


def add_json(parser: Any) -> None:
    """Add the option for JSON to a command that prints a result."""
    parser.add_argument("--json", action="store_true", help="write JSON")


def write_json(out: TextIO, document: object) -> None:
    """Write a result as JSON, as every command with C{--json} does."""
    out.write(json.dumps(document, indent=2) + "\n")


def plain(text: str) -> str:
    """Escape characters that control a terminal or reorder its text, because clients choose their URLs and names."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
