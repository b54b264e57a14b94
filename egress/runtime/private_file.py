"""Reading files with a private key or another secret: only those that nobody else can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from egress.runtime.safe_files import open_plain

# No PEM file of a CA comes near; whatever is larger is something else.
MAX_BYTES: Final = 256 * 1024

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class ExposedFile(Exception):
    """Other users can read or change a file with a key or another secret.

    @ivar reason: what is wrong, and the fix.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_secret(path: Path) -> bytes | None:
    """Read a file that holds a key or another secret.

    @return: C{None} when there is none.
    @raise ExposedFile: when others than its owner may use it.
    @raise OSError: when it cannot be read, or is not a regular file.
    """
    try:
        file = open_plain(path)
    except FileNotFoundError:
        return None
    with file:
        state = os.fstat(file.fileno())
        if _open_to_others(state):
            raise ExposedFile(f"{path}: others than its owner may use it; run chmod 600 {path}")
        return file.read(MAX_BYTES)


def _open_to_others(state: os.stat_result) -> bool:
    # What a container is given belongs to root, and is lent to the group of a process that is not: it has no other way.
    lent = state.st_uid == 0 and os.geteuid() != 0
    return bool(state.st_mode & (_OTHERS & ~stat.S_IRGRP if lent else _OTHERS))
