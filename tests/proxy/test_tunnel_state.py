"""Tests for L{egress.proxy.tunnel_state}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.tunnel_state import TRANSITIONS, TunnelState


class TransitionTests(SynchronousTestCase):
    """The table of states and their successors."""

    def test_every_state_can_end(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(TunnelState))
        for state, after in TRANSITIONS.items():
            if state is not TunnelState.DONE:
                self.assertIn(TunnelState.DONE, after)
        self.assertEqual(TRANSITIONS[TunnelState.DONE], frozenset())

    def test_only_an_allowed_tunnel_is_relayed(self) -> None:
        before = {state for state, after in TRANSITIONS.items() if TunnelState.RELAY in after}
        self.assertEqual(before, {TunnelState.DECIDING})
