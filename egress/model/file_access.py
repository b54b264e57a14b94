"""The permissions of the files that a program creates for others to read."""

from __future__ import annotations

import enum

import attrs


class FileMode(enum.Enum):
    """The mode of a log file, which no other users than its owner and its group can read or write.

    @cvar OWNER: only its owner reads and writes it.
    @cvar GROUP_READS: its group reads it.
    @cvar GROUP_WRITES: its group reads and writes it.
    """

    OWNER = "600"
    GROUP_READS = "640"
    GROUP_WRITES = "660"


@attrs.frozen
class FileAccess:
    """The users who can access a file that is created.

    @ivar mode: its mode.
    @ivar group: the id of its group; C{None}: the group of the process or of the directory, as the system chooses.
    """

    mode: FileMode = FileMode.OWNER
    group: int | None = None

    @property
    def bits(self) -> int:
        """The mode as a number."""
        return int(self.mode.value, 8)


PRIVATE = FileAccess()
"""Access for the owner only."""
