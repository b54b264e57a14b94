"""Tests for L{egress.store.location}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.store.interfaces import StoreError
from egress.store.location import configured_store, sqlite_file, store_to_read
from tests.files import make_directory


class LocationTests(SynchronousTestCase):
    """Locations of stores."""

    def test_file(self) -> None:
        self.assertEqual(sqlite_file("sqlite:/var/a:b.db"), Path("/var/a:b.db"))

    def test_open(self) -> None:
        location = f"sqlite:{make_directory(self) / 'a.db'}"
        store = configured_store(location)
        self.addCleanup(store.close)
        reader = store_to_read(location)
        self.addCleanup(reader.close)
        self.assertEqual(reader.last_seq(), 0)

    def test_errors(self) -> None:
        directory = make_directory(self)
        (directory / "text").write_bytes(b"no database" * 100)
        for name in ("missing/a.db", "text"):
            location = f"sqlite:{directory / name}"
            with self.subTest(name):
                error = self.assertRaises(ConfigError, configured_store, location)
                self.assertEqual((error.option, error.value), ("--audit-store", location))
                self.assertIn("cannot be written to", error.remedy)
                self.assertRaises(StoreError, store_to_read, location)
