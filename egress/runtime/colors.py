"""Colors of text on terminals."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TextIO


class Color(enum.Enum):
    """A color, or another property of text, as a terminal knows it."""

    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"
    BOLD = "1"
    DIM = "2"


class Painter:
    """Colors text, if its reader wants colors.

    @ivar colored: whether it colors text.
    """

    def __init__(self, colored: bool) -> None:
        self.colored = colored

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Painter:
        """Create it for a stream.

        C{NO_COLOR} takes precedence over C{FORCE_COLOR}, which takes precedence over C{TERM=dumb} and the kind of the
        stream.  Variables that are empty have no effect (https://no-color.org/).
        """
        if environ.get("NO_COLOR"):
            return cls(False)
        if environ.get("FORCE_COLOR"):
            return cls(True)
        return cls(environ.get("TERM") != "dumb" and stream.isatty())

    def paint(self, text: str, color: Color) -> str:
        """Color a text without line breaks."""
        return f"\x1b[{color.value}m{text}\x1b[0m" if self.colored else text
