"""Tests for L{egress.proxy.session_state}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.session_state import TRANSITIONS, SessionState


class TransitionTests(SynchronousTestCase):
    """The table of states and their successors."""

    def test_every_state_can_end(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(SessionState))
        for state, after in TRANSITIONS.items():
            self.assertIn(SessionState.LOST, after, state)
        self.assertEqual(TRANSITIONS[SessionState.CLOSING], {SessionState.LOST})
        self.assertEqual(TRANSITIONS[SessionState.LOST], {SessionState.LOST})

    def test_only_a_checked_request_opens_an_exchange_or_a_tunnel(self) -> None:
        for opened in (SessionState.EXCHANGE, SessionState.TUNNEL):
            self.assertEqual({state for state, after in TRANSITIONS.items() if opened in after}, {SessionState.REQUEST})

    def test_no_request_follows_another_protocol(self) -> None:
        for relayed in (SessionState.UPGRADED, SessionState.TUNNEL):
            self.assertEqual(TRANSITIONS[relayed], {SessionState.CLOSING, SessionState.LOST})
