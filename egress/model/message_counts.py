"""Counts of messages that were authorized one by one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final

from egress.model.message import Direction, MessageKind

VERDICTS: Final = ("allow", "deny", "unavailable", "rejected")
"""The verdicts: C{rejected} is for messages that the proxy cannot authorize, C{unavailable} for those without a
decision.
"""

# CPython calls a function of the enum module for the value of a member.
_KINDS: Final = {kind: kind.value for kind in MessageKind}
_DIRECTIONS: Final = {direction: direction.value for direction in Direction}


class MessageCounts:
    """Counts messages by verdict, kind and direction."""

    def __init__(self) -> None:
        labels = product(VERDICTS, _KINDS.values(), _DIRECTIONS.values())
        self._counts: dict[tuple[str, str, str], int] = dict.fromkeys(labels, 0)

    def add(self, verdict: str, kind: MessageKind, direction: Direction) -> None:
        """Count one message."""
        self._counts[verdict, _KINDS[kind], _DIRECTIONS[direction]] += 1

    @property
    def counts(self) -> Mapping[tuple[str, str, str], int]:
        """The numbers so far, with all labels."""
        return self._counts
