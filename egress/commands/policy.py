"""C{egress policy}: works on policies, each action in a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from egress.commands import replay, suggest

# Each adds its own parser, as the commands of egress do.
_COMMANDS: Final[tuple[Callable[[Any], None], ...]] = (suggest.add_parser, replay.add_parser)


def add_parser(commands: Any) -> None:
    """Add C{policy} to the commands."""
    parser = commands.add_parser("policy", help="policies: writing and trying them", description="Works on policies.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for add in _COMMANDS:
        add(actions)
