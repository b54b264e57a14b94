"""What a command writes to a file: all of it, or nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from egress.commands.failure import Misused

STDOUT: Final = "-"
"""The name that stands for standard output."""


def write_file(path: Path, text: str) -> None:
    """Write a file as a whole; one that was there keeps its mode.

    @raise Misused: when it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            # A device or a pipe stays what it is.
            path.write_text(text, "utf-8")
            return
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(descriptor, mode)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
    except OSError as error:
        raise Misused(f"{path}: {error.strerror}; name a file that can be written to") from error
