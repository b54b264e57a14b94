"""The format and the content of a program's log."""

from __future__ import annotations

import enum


class LogFormat(enum.Enum):
    """The format of a program's log.

    @cvar TEXT: lines of text.
    @cvar JSON: one JSON object for each record, on one line.
    """

    TEXT = "text"
    JSON = "json"


class LogThreshold(enum.Enum):
    """The lowest level of the records in a program's log."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LoggedRequests(enum.Enum):
    """The requests that the log contains.

    @cvar NONE: no requests.
    @cvar DENIED: requests that were not forwarded, or whose origin failed; a limited number of lines.
    @cvar ALL: all requests.
    """

    NONE = "none"
    DENIED = "denied"
    ALL = "all"
