"""The format of a program's log."""

from __future__ import annotations

import enum


class LogFormat(enum.Enum):
    """The format of a program's log.

    @cvar TEXT: lines of text.
    @cvar JSON: one JSON object for each record, on one line.
    """

    TEXT = "text"
    JSON = "json"
