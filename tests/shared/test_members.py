"""Tests for L{egress.shared.members}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.shared import members as module
from egress.shared.members import EXPIRES, Member, Members, node_names


def member(name: str, seen: float = 0.0, *, node: str = "n", is_waiting: bool = False) -> Member:
    return Member(name, node, seen, is_waiting)


class MembersTests(SynchronousTestCase):
    """The processes that have sent an event recently."""

    def setUp(self) -> None:
        self.members = Members()

    def names(self, now: float) -> list[str]:
        return [each.member_id for each in self.members.current(now)]

    def test_expiry(self) -> None:
        self.members.see(member("b", 0.0), 0.0)
        self.members.see(member("a", 5.0), 5.0)
        self.assertEqual(self.names(5.0), ["a", "b"])
        self.assertEqual(self.names(EXPIRES), ["a"])

    def test_earlier_event(self) -> None:
        """An event that someone repeats does not change what a later one said, and does not prolong it."""
        self.members.see(member("a", 5.0, is_waiting=True), 5.0)
        self.members.see(member("a", 4.0), 6.0)
        (one,) = self.members.current(6.0)
        self.assertEqual((one.seen, one.is_waiting), (5.0, True))

    def test_bounded(self) -> None:
        self.patch(module, "MAX_MEMBERS", 2)
        for number in range(3):
            self.members.see(member(str(number), float(number)), 0.0)
        self.assertEqual(self.names(0.0), ["0", "1"])
        # Another one fits when the first one is not a member any more.
        self.members.see(member("3", EXPIRES), EXPIRES)
        self.assertEqual(self.names(EXPIRES), ["1", "3"])

    def test_nodes(self) -> None:
        found = [member("a", node="y"), member("b", node="x"), member("c", node="y")]
        self.assertEqual(node_names(found), ["x", "y"])
