"""The journals of the programs of the soak test, and the files that select their mode."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

# The mode of a program that ends after its current work.
OVER = "over"

_ID = re.compile(r"/(?:r|denied|ws)/([a-z0-9-]+)")


def id_in(url: str) -> str:
    """Return the id in a URL or a path, or an empty string."""
    found = _ID.search(url)
    return found[1] if found else ""


class Journal:
    """Lines of JSON in a file.  Each line is written immediately, so a killed program loses no line."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **fields: object) -> None:
        """Write a line, with the time of the shared clock."""
        os.write(self._file, json.dumps({"at": time.monotonic(), **fields}).encode("ascii") + b"\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read all lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Mood:
    """The mode of a program: a word in a file, which outlives the program."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self) -> str:
        """Read the mode; empty means normal behavior."""
        try:
            return self._path.read_text("ascii")
        except FileNotFoundError:
            return ""

    def set(self, word: str) -> None:
        """Change the mode."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(word, "ascii")
        fresh.replace(self._path)
