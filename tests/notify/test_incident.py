"""Tests for L{egress.notify.incident}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.notify.incident import Change, Holders, Incident


class IncidentTests(SynchronousTestCase):
    """A fault of several processes begins once and ends once."""

    def test_one_process(self) -> None:
        incident = Incident()
        self.assertIsNone(incident.report("1", None))
        self.assertIs(incident.report("1", "down"), Change.BEGAN)
        self.assertIsNone(incident.report("1", "down"))
        self.assertIs(incident.report("1", None), Change.ENDED)
        self.assertIsNone(incident.report("1", None))
        self.assertIs(incident.report("1", "down"), Change.BEGAN)

    def test_several_processes(self) -> None:
        incident = Incident()
        changes = [incident.report(source, "down") for source in "1234"]
        self.assertEqual(changes, [Change.BEGAN, None, None, None])
        changes = [incident.report(source, None) for source in "1234"]
        self.assertEqual(changes, [None, None, None, Change.ENDED])

    def test_another_description(self) -> None:
        quiet, following = Incident(), Incident(follows=True)
        for incident, expected in ((quiet, None), (following, Change.BEGAN)):
            self.assertIs(incident.report("1", "line 1"), Change.BEGAN)
            self.assertIs(incident.report("1", "line 2"), expected)
            self.assertIsNone(incident.report("2", "line 2"))


class HoldersTests(SynchronousTestCase):
    """A subject is reported while a process waits for it."""

    def setUp(self) -> None:
        self.holders = Holders(100)

    def test_several_processes(self) -> None:
        self.assertEqual([self.holders.add("a", source, 300.0, 0.0) for source in "12"], [True, False])
        self.holders.remove("a", "1")
        self.assertFalse(self.holders.add("a", "1", 300.0, 0.0))
        self.holders.remove("a", "1")
        self.holders.remove("a", "2")
        self.holders.remove("a", "2")
        self.assertTrue(self.holders.add("a", "2", 300.0, 0.0))

    def test_a_process_that_died(self) -> None:
        self.holders.add("a", "1", 300.0, 0.0)
        self.assertFalse(self.holders.add("a", "2", 400.0, 299.0))
        self.assertFalse(self.holders.add("a", "2", 400.0, 301.0))
        self.assertTrue(self.holders.add("a", "2", 900.0, 400.0))
        self.holders.remove("a", "2")
        self.assertEqual(len(self.holders), 0)

    def test_limit(self) -> None:
        """Subjects that expired are forgotten."""
        for number in range(1000):
            self.holders.add(str(number), "1", number + 50.0, float(number))
        self.assertLessEqual(len(self.holders), 100)
