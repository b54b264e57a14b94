"""Tests for L{egress.proxy.state_machine}."""

from __future__ import annotations

import enum

from twisted.trial.unittest import SynchronousTestCase

from egress.proxy.state_machine import StateMachine


class Light(enum.Enum):
    """The states of a machine."""

    OFF = "off"
    ON = "on"


class Lamp(StateMachine[Light]):
    """A lamp that can be switched on once."""

    transitions = {Light.OFF: frozenset({Light.ON}), Light.ON: frozenset()}

    def __init__(self) -> None:
        self._state = Light.OFF

    def switch_on(self) -> None:
        self._enter(Light.ON)

    @property
    def is_on(self) -> bool:
        return self._state is Light.ON


class StateMachineTests(SynchronousTestCase):
    """The state changes only as the table permits."""

    def test_transitions(self) -> None:
        lamp = Lamp()
        self.assertFalse(lamp.is_on)
        lamp.switch_on()
        self.assertTrue(lamp.is_on)
        error = self.assertRaises(AssertionError, lamp.switch_on)
        self.assertEqual(str(error), "a transition from ON to ON is not in the table")
