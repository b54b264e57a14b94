"""Tests for L{egress.runtime.collector}."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.collector import YOUNG_OBJECTS, spare_started_objects


class SpareStartedObjectsTests(SynchronousTestCase):
    """The setting of the collector."""

    def setUp(self) -> None:
        before, frozen = gc.get_threshold(), gc.get_freeze_count()
        self.addCleanup(gc.set_threshold, *before)
        self.others = before[1:]
        if not frozen:
            self.addCleanup(gc.unfreeze)

    def test_objects(self) -> None:
        """Existing objects are exempt, later ones are not."""
        before: list[object] = []
        spare_started_objects()
        after: list[object] = []
        examined = {id(each) for each in gc.get_objects()}
        self.assertNotIn(id(before), examined)
        self.assertIn(id(after), examined)

    def test_thresholds(self) -> None:
        spare_started_objects()
        self.assertEqual(gc.get_threshold(), (YOUNG_OBJECTS, *self.others))
