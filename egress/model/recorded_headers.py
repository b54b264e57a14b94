"""The header fields that an audit record contains: redacted and bounded."""

from __future__ import annotations

import enum
from typing import Final

from egress.model.decision import Headers
from egress.model.request_preview import display_field

MAX_FIELDS: Final = 64
"""The maximum number of recorded fields of a message."""

MAX_CHARACTERS: Final = 4096
"""The maximum length of the recorded names and values of a message."""

RecordedHeaders = tuple[tuple[str, str], ...]
"""Names and values, with secrets redacted.  An empty name marks fields that are not recorded."""


class AuditHeaders(enum.Enum):
    """The requests whose header fields are recorded.

    @cvar NONE: no request.
    @cvar DENIED: requests that were not allowed, or that observe mode allowed.
    @cvar ALL: all requests, and their responses.
    """

    NONE = "none"
    DENIED = "denied"
    ALL = "all"

    def cover(self, verdict: str, observed: str | None = None) -> bool:
        """Whether the header fields of a request are recorded.

        @param verdict: the verdict.
        @param observed: the verdict that observe mode did not enforce.
        """
        if verdict == "allow" and observed is None:
            return self is _ALL
        return self is not _NONE


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_NONE: Final = AuditHeaders.NONE
_ALL: Final = AuditHeaders.ALL


def recorded_headers(headers: Headers) -> RecordedHeaders | None:
    """Return header fields for an audit record.

    @return: the fields in their order; C{None} if there are none.  If not all of them are recorded, the last one has an
        empty name, and its value contains the number of the others.
    """
    if not headers:
        return None
    recorded = []
    left = MAX_CHARACTERS
    for name, value in headers[:MAX_FIELDS]:
        field = display_field(name, value)
        left -= len(field[0]) + len(field[1])
        if left < 0:
            break
        recorded.append(field)
    missing = len(headers) - len(recorded)
    if missing:
        recorded.append(("", f"{missing} more fields"))
    return tuple(recorded)
