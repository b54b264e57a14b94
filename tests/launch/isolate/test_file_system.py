"""Tests for L{egress.launch.isolate.file_system}.

C{tests.integration.test_isolate_sandbox} has the tests of real mounts.
"""

from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import file_system
from egress.launch.isolate.file_system import make_read_only, mount_processes, special_files
from egress.launch.isolate.syscalls import BIND, NO_SETUID, READ_ONLY, REMOUNT
from tests.files import make_directory


class SpecialFileTests(SynchronousTestCase):
    """The search for sockets."""

    def setUp(self) -> None:
        self.root = make_directory(self).resolve()
        (self.root / "a" / "b").mkdir(parents=True)
        (self.root / "file").write_text("")

    def bind(self, *names: str) -> list[str]:
        """Make sockets, by relative paths because long ones have no place in an address."""
        before = os.getcwd()
        os.chdir(self.root)
        self.addCleanup(os.chdir, before)
        for name in names:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(name)
        return [str(self.root / name) for name in names]

    def test_found(self) -> None:
        expected = self.bind("x", "a/x", "a/b/x")
        os.mkfifo(self.root / "a" / "pipe")
        found = sorted(special_files(str(self.root), None))
        self.assertEqual(found, sorted([*expected, str(self.root / "a" / "pipe")]))

    def test_depth(self) -> None:
        expected = self.bind("x", "a/x", "a/b/x")
        self.assertEqual(sorted(special_files(str(self.root), 2)), sorted(expected[:2]))

    def test_links(self) -> None:
        """A link leads to a directory that is searched itself."""
        self.bind("a/b/x")
        (self.root / "link").symlink_to(self.root / "a" / "b")
        self.assertEqual(list(special_files(str(self.root / "a"), 1)), [])
        self.assertEqual(list(special_files(str(self.root), 1)), [])

    def test_many_entries(self) -> None:
        """A directory that is too large counts as one with a socket."""
        self.patch(file_system, "_MAX_ENTRIES", 2)
        self.assertEqual(list(special_files(str(self.root), None)), [str(self.root / "a")])

    def test_absent(self) -> None:
        self.assertEqual(list(special_files(str(self.root / "absent"), None)), [])


class MountTests(SynchronousTestCase):
    """The calls of mount(2)."""

    def setUp(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.options: dict[str, int] = {}
        self.patch(file_system, "mount", self.mount)
        self.patch(os, "statvfs", self.statvfs)

    def mount(self, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        self.calls.append((source, target, flags))
        if target.endswith("covered"):
            raise OSError(errno.EINVAL, "not a mount")
        if target.endswith("removed"):
            raise FileNotFoundError(target)

    def statvfs(self, path: str) -> Any:
        if path not in self.options:
            raise FileNotFoundError(path)
        return SimpleNamespace(f_flag=self.options[path])

    def test_read_only(self) -> None:
        """The other options of a mount remain: the kernel would reject the call."""
        self.options = {"/a": os.ST_NOSUID}
        make_read_only(["/a", "/absent"])
        self.assertEqual(self.calls, [(None, "/a", REMOUNT | BIND | NO_SETUID | READ_ONLY)])

    def test_covered(self) -> None:
        """A mount that another one covers is as that one."""
        self.options = {"/covered": os.ST_RDONLY}
        make_read_only(["/covered"])
        self.assertEqual(len(self.calls), 1)

    def test_writable(self) -> None:
        """No mount remains writable without an error."""
        self.options = {"/covered": 0}
        error = self.assertRaises(OSError, make_read_only, ["/covered"])
        self.assertEqual((error.errno, error.filename), (errno.EROFS, "/covered"))

    def test_processes(self) -> None:
        """Root of the machine protects the files of the kernel by its user only."""
        mount_processes(complete=False)
        self.assertEqual([target for _, target, _ in self.calls], ["/proc"])
        self.calls.clear()
        self.patch(file_system, "_KERNEL_CONTROLS", ("/proc/sys", "/proc/removed"))
        self.patch(file_system, "_mount_points", lambda: ["/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/system"])
        self.options = dict.fromkeys(("/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/system"), 0)
        mount_processes(complete=True)
        restricted = [target for _, target, flags in self.calls if flags & READ_ONLY]
        self.assertEqual(restricted, ["/proc/sys", "/sys", "/sys/fs/cgroup"])
