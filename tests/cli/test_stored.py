"""Tests for L{egress.cli.stored}; L{tests.cli.test_logs} has those of a command that reads the store."""

from __future__ import annotations

import argparse

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.errors import CommandFailed
from egress.cli.stored import add_store_options, location, opened_store
from egress.store.sqlite import open_store
from tests.files import make_directory


class StoredTests(SynchronousTestCase):
    """The options that find the store."""

    def given(self, *arguments: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_store_options(parser)
        return parser.parse_args(arguments)

    def test_location(self) -> None:
        path = make_directory(self).absolute() / "a.db"
        self.assertEqual(location(self.given("--audit-store", f"sqlite:{path}"), {}), (f"sqlite:{path}", None))
        found = location(self.given(), {"EGRESS_AUDIT_STORE": f"sqlite:{path}"})
        self.assertEqual(found, (f"sqlite:{path}", None))

    def test_no_store(self) -> None:
        error = self.assertRaises(CommandFailed, location, self.given("--audit-store", "none"), {})
        self.assertIn("EGRESS_AUDIT_STORE", str(error))

    def test_opened(self) -> None:
        """The store is closed at the end."""
        path = make_directory(self).absolute() / "a.db"
        open_store(path).close()
        with opened_store(self.given("--audit-store", f"sqlite:{path}"), {}) as store:
            self.assertEqual(store.last_seq(), 0)
