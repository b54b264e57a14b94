"""Tests for L{egress.launch.isolate.user_namespace}."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import user_namespace
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.syscalls import NEW_USER
from egress.launch.isolate.user_namespace import (
    check_nesting,
    enter_user_namespace,
    own_id_maps,
    write_id_maps,
)
from tests.files import make_directory


class IdMapFileTests(SynchronousTestCase):
    """The files of the kernel."""

    def setUp(self) -> None:
        self.root = make_directory(self)

    def written(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.root / "7").iterdir()}

    def test_own(self) -> None:
        for name, text in (("status", "CapEff:\t0\n"), ("uid_map", "0 0 9"), ("gid_map", "0 0 9")):
            (self.root / name).write_text(text)
        expected = IdMaps(f"{os.getuid()} {os.getuid()} 1\n", f"{os.getgid()} {os.getgid()} 1\n", complete=False)
        self.assertEqual(own_id_maps(self.root), expected)

    def test_write(self) -> None:
        """The kernel accepts a group of an unprivileged process only if no process can leave its groups."""
        (self.root / "7").mkdir()
        write_id_maps(IdMaps("u", "g", complete=True), 7, self.root)
        self.assertEqual(self.written(), {"uid_map": "u", "gid_map": "g"})
        write_id_maps(IdMaps("u", "g", complete=False), 7, self.root)
        self.assertEqual(self.written(), {"uid_map": "u", "gid_map": "g", "setgroups": "deny"})


class EnterTests(SynchronousTestCase):
    """Entering a namespace, without one."""

    def setUp(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.status = 0
        self.patch(user_namespace, "unshare", lambda flags: self.calls.append(("unshare", flags)))
        self.patch(user_namespace, "write_id_maps", lambda maps, process: self.calls.append((maps, process)))
        self.patch(os, "fork", lambda: 7)
        self.patch(os, "waitpid", self.wait)

    def wait(self, process: int, options: int) -> tuple[int, int]:
        self.calls.append(("wait", process))
        return process, self.status

    def test_own_ids(self) -> None:
        """The process writes them itself."""
        maps = IdMaps("u", "g", complete=False)
        enter_user_namespace(maps)
        self.assertEqual(self.calls, [("unshare", NEW_USER), (maps, "self")])

    def test_all_ids(self) -> None:
        """A child, which remains outside, writes them."""
        enter_user_namespace(IdMaps("u", "g", complete=True))
        self.assertEqual(self.calls, [("unshare", NEW_USER), ("wait", 7)])

    def test_refused(self) -> None:
        """The exit status of the child is the error of the kernel."""
        self.status = errno.EPERM << 8
        error = self.assertRaises(OSError, enter_user_namespace, IdMaps("u", "g", complete=True))
        self.assertEqual((error.errno, error.filename), (errno.EPERM, f"/proc/{os.getpid()}/uid_map"))

    def test_nesting(self) -> None:
        check_nesting()
        self.status = errno.ENOSPC << 8
        error = self.assertRaises(OSError, check_nesting)
        self.assertEqual(error.errno, errno.ENOSPC)
