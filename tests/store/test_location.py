"""Tests for L{egress.store.location}."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.store.interfaces import StoreError, StoreUnreachable
from egress.store.location import (
    configured_store,
    is_location,
    migrate,
    missing_tables,
    spool_directory,
    sqlite_file,
    store_to_read,
)
from egress.store.postgresql_connection import Database
from tests.files import make_directory


class LocationTests(SynchronousTestCase):
    """Locations of stores."""

    def test_file(self) -> None:
        self.assertEqual(sqlite_file("sqlite:/var/a:b.db"), Path("/var/a:b.db"))

    def test_open(self) -> None:
        location = f"sqlite:{make_directory(self) / 'a.db'}"
        store = configured_store(ProxyConfig(audit_store=location))
        self.addCleanup(store.close)
        reader = store_to_read(location)
        self.addCleanup(reader.close)
        self.assertEqual(reader.last_seq(), 0)

    def test_server(self) -> None:
        """The spool depends on the server and on the database, but neither on the user nor on parameters."""
        directory = make_directory(self)
        names = {}
        for url in (
            "postgresql://a@db.test:5433/audit?sslmode=verify-full",
            "postgresql://b@db.test:5433/audit",
            "postgresql://b@db.test:5433/other",
            "postgresql:///audit?host=/run",
        ):
            config = ProxyConfig(audit_store=url, ca_dir=directory)
            names[url] = spool_directory(config).name
            self.assertEqual(spool_directory(config).parent, directory / "audit-spool")
            self.assertIsNone(sqlite_file(url))
            self.assertTrue(is_location(url))
        found = list(names.values())
        self.assertEqual((found[0] == found[1], len(set(found))), (True, 3))
        self.assertRegex(found[0], r"\Adb\.test-5433-audit-[0-9a-f]{12}\Z")

    def test_unreachable_server(self) -> None:
        """A store on a server is opened while the server is away; a reader is not."""
        config = ProxyConfig(audit_store="postgresql://db.test/audit", ca_dir=make_directory(self))
        with mock.patch.object(Database, "connect", side_effect=StoreUnreachable("refused")) as connect:
            store: Any = configured_store(config, worker=3)
            self.addCleanup(store.close)
            self.assertEqual((store.fault, connect.call_count), ("refused", 1))
            other: Any = configured_store(config, check=False)
            self.addCleanup(other.close)
            self.assertEqual((other.fault, connect.call_count), (None, 1))
            for call in (partial(store_to_read, "postgresql://db.test/audit"), partial(missing_tables, config)):
                self.assertRaises(StoreUnreachable, call)
            self.assertRaises(StoreUnreachable, migrate, "postgresql://db.test/audit")

    def test_unusable_server(self) -> None:
        config = ProxyConfig(audit_store="postgresql://db.test/audit", ca_dir=make_directory(self))
        with mock.patch.object(Database, "connect", side_effect=StoreError("a newer version")):
            error = self.assertRaises(ConfigError, configured_store, config)
        self.assertEqual(error.remedy, "cannot be written to: a newer version")

    def test_unusable_spool(self) -> None:
        """A proxy whose records cannot wait does not start."""
        directory = make_directory(self)
        (directory / "audit-spool").write_bytes(b"")
        config = ProxyConfig(audit_store="postgresql://db.test/audit", ca_dir=directory)
        error = self.assertRaises(ConfigError, configured_store, config)
        self.assertEqual(error.option, "--ca-dir")
        self.assertIn("the spool of --audit-store cannot be written", error.remedy)

    def test_migrate(self) -> None:
        path = make_directory(self) / "a.db"
        migrate(f"sqlite:{path}")
        store_to_read(f"sqlite:{path}").close()

    def test_errors(self) -> None:
        directory = make_directory(self)
        (directory / "text").write_bytes(b"no database" * 100)
        for name in ("missing/a.db", "text"):
            location = f"sqlite:{directory / name}"
            with self.subTest(name):
                error = self.assertRaises(ConfigError, configured_store, ProxyConfig(audit_store=location))
                self.assertEqual((error.option, error.value), ("--audit-store", location))
                self.assertIn("cannot be written to", error.remedy)
                self.assertRaises(StoreError, store_to_read, location)
