"""The mounts of a process, and their options."""

from __future__ import annotations

import os
import re
from typing import Final

# A user namespace must not remove these options from the mounts of another one.  mount(2) has other numbers than
# statvfs(3) for one of them.
_SAME: Final = (
    os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME  # type: ignore[attr-defined,unused-ignore]
)
_RELATIVE_TIMES: Final = 0x200000

_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def mount_points(table: str) -> list[str]:
    """Return the paths of mounts, parents first.

    @param table: the content of C{/proc/self/mountinfo} (proc_pid_mountinfo(5)).
    """
    paths = (line.split(" ")[4] for line in table.splitlines())
    return sorted({_OCTAL.sub(lambda found: chr(int(found[1], 8)), path) for path in paths})


def mount_flags(statistics: int) -> int:
    """Return the flags of mount(2) for the options of a mount.

    @param statistics: C{f_flag} of statvfs(3).
    """
    relative = _RELATIVE_TIMES if statistics & os.ST_RELATIME else 0  # type: ignore[attr-defined,unused-ignore]
    return statistics & _SAME | relative


def is_below(path: str, directory: str) -> bool:
    """Return whether a path is a directory, or in it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")
