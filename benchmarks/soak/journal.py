"""What the programs of the soak write down, and how they are told to misbehave."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

# The mood of a program that is to end when it has done what it is at.
OVER = "over"

_ID = re.compile(r"/(?:r|denied|ws)/([a-z0-9-]+)")


def id_in(url: str) -> str:
    """The id in a URL or a path; empty where there is none."""
    found = _ID.search(url)
    return found[1] if found else ""


class Journal:
    """Lines of JSON in a file.  Each is written at once, so that a program that is killed loses none."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **fields: object) -> None:
        """Write a line, with the time on the clock that all processes share."""
        os.write(self._file, json.dumps({"at": time.monotonic(), **fields}).encode("ascii") + b"\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read all lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


class Mood:
    """How a program behaves: a word in a file, which outlives the program."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self) -> str:
        """Read it; empty: as it should."""
        try:
            return self._path.read_text("ascii")
        except FileNotFoundError:
            return ""

    def set(self, word: str) -> None:
        """Change it."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(word, "ascii")
        fresh.replace(self._path)
