"""Tests for L{egress.authz.distribution.status}."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock

from egress.authz.distribution.status import PolicyStatus
from egress.authz.distribution.store import CheckStatus
from tests.authz.distribution.test_store import NOW, StoreTestCase


class PolicyStatusTests(StoreTestCase):
    """Each process reads the results of the checks."""

    def setUp(self) -> None:
        super().setUp()
        self.store.prepare()
        self.clock = Clock()
        self.loaded = True
        self.now = NOW
        self.changes = 0

    def make(self, max_age: float | None = 60.0) -> PolicyStatus:
        """Make a status, which reads its file each second."""
        status = PolicyStatus(
            cast(Any, self.clock),
            "the policy",
            self.store,
            max_age=max_age,
            is_loaded=lambda: self.loaded,
            now=lambda: self.now,
            changed=self.changed,
        )
        status.start()
        status.start()
        self.addCleanup(status.stop)
        return status

    def changed(self) -> None:
        """Count a change."""
        self.changes += 1

    def test_not_loaded(self) -> None:
        self.loaded = False
        for max_age in (60.0, None):
            self.assertEqual(self.make(max_age).fault(), "the policy is not loaded yet")

    def test_age(self) -> None:
        status = self.make()
        self.assertIn("--policy-max-age", status.fault() or "")
        self.assertIsNone(self.make(None).fault())
        self.store.save_status(CheckStatus(NOW))
        self.clock.advance(1)
        self.assertEqual((status.checked, status.fault()), (NOW, None))
        self.now += 60
        self.assertIsNone(status.fault())
        self.now += 1
        self.assertIn("the last successful check of the policy is older", status.fault() or "")
        # The clock of the machine is set back: the time of the check is not known.
        self.now = NOW - 61
        self.assertIsNotNone(status.fault())
        self.now = NOW - 5
        self.assertIsNone(status.fault())

    def test_a_removed_file(self) -> None:
        """The last known check counts, until it is too old."""
        self.store.save_status(CheckStatus(NOW))
        status = self.make()
        self.store.status.unlink()
        self.clock.advance(1)
        self.assertIsNone(status.fault())
        self.now += 61
        self.assertIsNotNone(status.fault())

    def test_note(self) -> None:
        self.store.save_status(CheckStatus(NOW, fault="refused"))
        status = self.make()
        self.assertEqual(status.note(), "the last check of the policy failed: refused")
        self.store.save_status(CheckStatus(NOW))
        self.clock.advance(1)
        self.assertEqual(status.note(), "")

    def test_changes(self) -> None:
        self.store.save_status(CheckStatus(NOW, digest="a"))
        self.make()
        self.assertEqual(self.changes, 0)
        self.store.save_status(CheckStatus(NOW + 1, digest="a"))
        self.clock.advance(1)
        self.assertEqual(self.changes, 0)
        self.store.save_status(CheckStatus(NOW + 2, digest="b"))
        self.clock.advance(1)
        self.assertEqual(self.changes, 1)

    def test_the_first_version(self) -> None:
        self.make()
        self.store.save_status(CheckStatus(NOW, digest="a"))
        self.clock.advance(1)
        self.assertEqual(self.changes, 1)

    def test_stop(self) -> None:
        status = self.make()
        status.stop()
        status.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
