"""The state of a session, an exchange or a tunnel, which changes only as a table permits."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from egress.runtime.native import mypyc_attr

S = TypeVar("S", bound=enum.Enum)


# The compiler needs to know that interpreted classes inherit from it.
@mypyc_attr(allow_interpreted_subclasses=True)
class StateMachine(Generic[S]):
    """An object with one state.

    @cvar transitions: each state with its successors.
    """

    transitions: ClassVar[Mapping[Any, frozenset[Any]]]
    _state: S

    def _enter(self, state: S) -> None:
        """Change the state.

        @raise AssertionError: if the table does not contain the transition, which is a bug.
        """
        if state not in self.transitions[self._state]:
            raise AssertionError(f"a transition from {self._state.name} to {state.name} is not in the table")
        self._state = state
