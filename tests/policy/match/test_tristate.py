"""Tests for L{egress.policy.match.tristate}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.tristate import Match, all_of, certainty

NO, MAYBE, YES = Match.NO, Match.MAYBE, Match.YES


class MatchTests(SynchronousTestCase):
    """The results yes, no and uncertain."""

    def test_opposite(self) -> None:
        for one, other in ((NO, YES), (YES, NO), (MAYBE, MAYBE), (Match.UNREAD, Match.UNREAD)):
            self.assertIs(one.opposite(), other)

    def test_certainty(self) -> None:
        for answers, expected in (((), NO), ((True, True), YES), ((False,), NO), ((True, False), MAYBE)):
            self.assertIs(certainty(answers), expected)

    def test_all(self) -> None:
        for answers, expected in (((), YES), ((YES, MAYBE), MAYBE), ((MAYBE, NO, YES), NO), ((YES, YES), YES)):
            self.assertIs(all_of(answers), expected)
