"""Tests for L{egress.launch.isolate.file_system}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import file_system
from egress.launch.isolate.file_system import mount_processes, replace_files
from egress.launch.isolate.syscalls import BIND
from tests.files import make_directory


class MountTests(SynchronousTestCase):
    """The mounts, in a directory that stands for the file system."""

    def setUp(self) -> None:
        self.root = make_directory(self).resolve()
        self.calls: list[tuple[Any, ...]] = []
        self.patch(file_system, "mount", lambda *arguments: self.calls.append(arguments))
        self.patch(file_system, "unmount", lambda target: self.calls.append((target,)))
        self.patch(file_system, "_STAGE", self.root)
        self.patch(file_system, "_RESOLV_CONF", self.root / "etc" / "resolv.conf")
        (self.root / "etc").mkdir()

    def test_resolv_conf(self) -> None:
        """The file is replaced where its symbolic link leads."""
        target = self.root / "stub.conf"
        target.write_text("nameserver 203.0.113.1\n")
        (self.root / "etc" / "resolv.conf").symlink_to(target)
        replace_files()
        source = self.root / "resolv.conf"
        self.assertIn("\nnameserver 127.0.0.1\n", source.read_text())
        self.assertEqual(self.calls[2:], [(str(source), str(target), None, BIND), (str(self.root),)])

    def test_no_resolv_conf(self) -> None:
        """Without the file, programs use the name server of this machine."""
        replace_files()
        self.assertEqual([call[1] for call in self.calls], ["/"])

    def test_processes(self) -> None:
        mount_processes()
        self.assertEqual([call[:3] for call in self.calls], [("proc", "/proc", "proc")])
