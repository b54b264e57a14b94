"""Tests for L{egress.store.grant_key}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.config.shared import SharedSettings
from egress.model.shared_location import SharedLocation
from egress.runtime.safe_files import Folder
from egress.store.grant_key import KEY_FILE, grant_secret, keeps_grants
from tests.files import disk_full, make_directory

SERVER = "postgresql://user@127.0.0.1/audit"


class GrantKeyTests(SynchronousTestCase):
    """The secret of the replicas, or the file of one proxy."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.config = ProxyConfig(audit_store=SERVER, ca_dir=self.directory / "state")
        self.path = self.config.ca_dir / KEY_FILE

    def test_stores(self) -> None:
        self.assertTrue(keeps_grants(self.config))
        for location in (None, f"sqlite:{self.directory}/audit.db"):
            self.assertFalse(keeps_grants(attrs.evolve(self.config, audit_store=location)), location)

    def test_shared(self) -> None:
        settings = SharedSettings(location=SharedLocation.parse("redis://127.0.0.1"), key=b"k" * 32)
        self.assertEqual(grant_secret(attrs.evolve(self.config, shared=settings)), b"k" * 32)
        self.assertFalse(self.path.exists())

    def test_file(self) -> None:
        """It is created once, for only its owner."""
        found = grant_secret(self.config)
        self.assertEqual((len(found), grant_secret(self.config)), (32, found))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([path.name for path in self.config.ca_dir.iterdir()], [KEY_FILE])
        other = ProxyConfig(audit_store=SERVER, ca_dir=self.directory / "other")
        self.assertNotEqual(grant_secret(other), found)

    def test_created_meanwhile(self) -> None:
        """Another process creates the file at the same moment."""
        create = Folder.create

        def late(folder: Folder, *arguments: Any) -> str:
            self.path.write_bytes(b"o" * 32)
            self.path.chmod(0o600)
            return create(folder, *arguments)

        self.patch(Folder, "create", late)
        self.assertEqual(grant_secret(self.config), b"o" * 32)

    def fault(self) -> str:
        error = self.assertRaises(ConfigError, grant_secret, self.config)
        self.assertEqual(error.option, "--ca-dir")
        return str(error)

    def test_faults(self) -> None:
        grant_secret(self.config)
        self.path.chmod(0o644)
        self.assertIn("chmod 600", self.fault())
        self.path.write_bytes(b"short")
        self.path.chmod(0o600)
        self.assertIn("is not a key", self.fault())
        self.path.unlink()
        self.patch(Folder, "create", disk_full)
        self.assertIn("No space left", self.fault())
        self.assertFalse(Path(self.path).exists())
