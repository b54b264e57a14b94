"""Tests for L{egress.console.page}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.page import Page, Visit
from egress.console.sessions import Session, SessionRole


class VisitTests(SynchronousTestCase):
    """The values of a visit."""

    def test_values(self) -> None:
        session = Session(SessionRole.VIEWER, "token", 0, 0)
        visit = Visit(session=session, query={"q": ["a", "b"], "empty": []}, form={"x": ["1"]})
        self.assertEqual((visit.parameter("q"), visit.parameter("empty", "z"), visit.parameter("r")), ("b", "z", ""))
        self.assertEqual((visit.field("x"), visit.field("y", "2")), ("1", "2"))
        self.assertFalse(visit.may_change)

    def test_path(self) -> None:
        self.assertEqual(Page(name="health", title="Health", routes=lambda _: ()).path, "/console/health")
