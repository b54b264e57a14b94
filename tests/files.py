"""Files for tests."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase


def make_directory(case: SynchronousTestCase) -> Path:
    """Make an empty directory for a test, which trial deletes later."""
    path = Path(case.mktemp())
    path.mkdir()
    return path


def disk_full(*_: object, **__: object) -> NoReturn:
    """Fail as a call does that writes to a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def would_block(*_: object, **__: object) -> NoReturn:
    """Fail as a call does that would have to wait."""
    raise BlockingIOError
