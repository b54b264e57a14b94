"""Reading files that contain a private key or another secret, which only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from egress.runtime.safe_files import open_plain

# The PEM files of a CA are much smaller; a larger file is not a secret.
MAX_BYTES: Final = 256 * 1024

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class ExposedFile(Exception):
    """A file with a key or another secret that other users can read or change.

    @ivar reason: the problem and the fix.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_secret(path: Path) -> bytes | None:
    """Read a file that contains a key or another secret.

    @return: C{None} if the file does not exist.
    @raise ExposedFile: if other users than its owner have access to the file.
    @raise OSError: if the file cannot be read, or is not a regular file.
    """
    try:
        file = open_plain(path)
    except FileNotFoundError:
        return None
    with file:
        state = os.fstat(file.fileno())
        if _open_to_others(state):
            raise ExposedFile(f"{path}: users other than its owner can access it; run chmod 600 {path}")
        return file.read(MAX_BYTES)


def _open_to_others(state: os.stat_result) -> bool:
    # A container's files belong to root, and only the group permissions give access to a process of another user.
    lent = state.st_uid == 0 and os.geteuid() != 0
    return bool(state.st_mode & (_OTHERS & ~stat.S_IRGRP if lent else _OTHERS))
