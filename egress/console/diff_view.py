"""Differences of texts, as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

_SHOWN: Final = 600
_KINDS: Final = {"+": "added", "-": "removed", "@": "place"}


@attrs.frozen
class DiffLine:
    """One line of a difference.

    @ivar kind: C{added}, C{removed}, C{place} (where the next lines are) or C{same}.
    @ivar text: the line, with its sign.
    """

    kind: str
    text: str


@attrs.frozen
class DiffView:
    """A difference.

    @ivar lines: the lines.
    @ivar more: the number of lines that are not shown.
    """

    lines: tuple[DiffLine, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, lines: Sequence[str]) -> DiffView:
        """Make the view of a unified diff without its two lines with the names."""
        body = lines[2:]
        found = tuple(DiffLine(_KINDS.get(line[:1], "same"), line) for line in body[:_SHOWN])
        return cls(found, max(0, len(body) - _SHOWN))
