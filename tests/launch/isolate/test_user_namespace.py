"""Tests for L{egress.launch.isolate.user_namespace}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.user_namespace import own_id_maps, write_id_maps
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
