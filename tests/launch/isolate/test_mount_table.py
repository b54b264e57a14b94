"""Tests for L{egress.launch.isolate.mount_table}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.mount_table import is_below, mount_flags, mount_points
from egress.launch.isolate.syscalls import NO_DEVICES, NO_EXECUTABLES, NO_SETUID, READ_ONLY

_TABLE = r"""
36 35 98:0 / /mnt/a\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue
22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
37 35 98:0 / /mnt rw - ext3 /dev/root rw
38 35 98:0 / /mnt rw - ext3 /dev/root rw
"""


class MountTableTests(SynchronousTestCase):
    """The mounts of a process."""

    def test_paths(self) -> None:
        """Parents are first; a path that is mounted on twice is named once, and a space is a number in the table."""
        self.assertEqual(mount_points(_TABLE.strip()), ["/mnt", "/mnt/a b", "/proc"])

    def test_flags(self) -> None:
        """The options have the same numbers, except one."""
        self.assertEqual(mount_flags(os.ST_RDONLY | os.ST_NOSUID), READ_ONLY | NO_SETUID)
        self.assertEqual(mount_flags(os.ST_NODEV | os.ST_NOEXEC), NO_DEVICES | NO_EXECUTABLES)
        self.assertEqual(mount_flags(os.ST_RELATIME | os.ST_SYNCHRONOUS), 0x200000)

    def test_is_below(self) -> None:
        for path, directory, expected in (
            ("/a", "/a", True),
            ("/a/b", "/a", True),
            ("/ab", "/a", False),
            ("/a", "/a/b", False),
            ("/a", "/", True),
            ("/a/b", "/a/", True),
        ):
            self.assertEqual(is_below(path, directory), expected, (path, directory))
