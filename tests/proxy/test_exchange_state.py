"""Tests for L{egress.proxy.exchange_state}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.exchange_state import TRANSITIONS, State


class StateTests(SynchronousTestCase):
    """The table of states and their successors."""

    def test_every_state_can_end(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(State))
        for state, after in TRANSITIONS.items():
            if state is not State.DONE:
                self.assertIn(State.DONE, after)
        self.assertEqual(TRANSITIONS[State.DONE], frozenset())

    def test_only_a_decision_permits_a_connection(self) -> None:
        leading = {state for state, after in TRANSITIONS.items() if State.CONNECTING in after}
        self.assertEqual(leading, {State.DECIDING, State.RESOLVING, State.FORWARDING})
        self.assertEqual(
            {state for state, after in TRANSITIONS.items() if State.FORWARDING in after}, {State.CONNECTING}
        )
