"""Quoting what somebody else sent, in reasons and log lines.

The rule: a reason or a log line never holds input as it came.  What cannot be parsed as a URL, a target, an authority,
or credentials is not quoted at all: the password of a malformed URL can stand in any part of it.  Other input is quoted
by L{quoted}, and by nothing else.  A host and a port that were parsed (L{egress.model.authority.Authority}) are no
longer input: userinfo is no part of them.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 80
"""Characters of a quotation, its quotes left out."""

_REDACTED: Final = "REDACTED"


def quoted(text: str | bytes) -> str:
    """Quote input: on one line, in quotes, at most L{LONGEST} characters of it, and nothing that may be a password.

    All that stands before an C{@} is replaced, whether the text is a URL or not, and all that follows a question mark.

    @param text: bytes are read as Latin-1.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    before, mark, _ = text.rpartition("@")
    if mark:
        text = f"{_REDACTED}@{text[len(before) + 1 :]}"
    text, mark, _ = text.partition("?")
    text = "".join(char if char.isprintable() else "?" for char in text[: LONGEST + 1])
    if mark:
        text = f"{text}?{_REDACTED}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 3]}..."
    return f"'{text}'"
