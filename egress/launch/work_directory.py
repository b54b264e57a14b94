"""The directory with the files that a command trusts.

It is removed after the command, or by a later C{egress run} if the process was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "egress-run-"

# A new directory is not locked for a moment.
_NEW_SECONDS: Final = 60.0


@contextmanager
def work_directory() -> Iterator[Path]:
    """Make a directory, and remove it at the end.

    Everyone can read it, because programs such as apt read their files as another user.
    """
    remove_abandoned(Path(tempfile.gettempdir()), time.time())
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        path = Path(name)
        path.chmod(0o755)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The lock ends with the process, however it ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(descriptor)


def remove_abandoned(parent: Path, now: float) -> None:
    """Remove the directories of processes of this user that have ended without removing them.

    @param parent: the directory of temporary files.
    @param now: the time, in seconds since the epoch.
    """
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path, now)


def _remove_if_abandoned(path: str, now: float) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or now - found.st_mtime < _NEW_SECONDS:
            return
        # Raises an error while a process uses it.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(descriptor)
