"""Quoting of untrusted input in reasons and log lines.

The rule: a reason or a log line never contains raw input.  Text that cannot be parsed as a URL, a target, an authority
or credentials is not quoted at all.  If it is a malformed URL, its password can be in any part of it.  Other input is
quoted only with L{quoted}.  A parsed host and port (L{egress.model.authority.Authority}) is no longer raw input: it
contains no userinfo.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 80
"""The maximum length of a quotation in characters, without the quotation marks."""

_REDACTED: Final = "REDACTED"


def printable(text: str, substitute: str = "?") -> str:
    """Return text on one line, without characters that control a terminal or reorder its text.

    @param text: the text.
    @param substitute: replaces each character that is not printable, such as a line break or a lone surrogate.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else substitute for char in text)


def quoted(text: str | bytes) -> str:
    """Quote input: on one line, in quotation marks, at most L{LONGEST} characters, and without possible passwords.

    The text before an C{@} is redacted, whether or not the input is a URL, and so is the text after a C{?}.

    @param text: the input; bytes are decoded as Latin-1.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    before, mark, _ = text.rpartition("@")
    if mark:
        text = f"{_REDACTED}@{text[len(before) + 1 :]}"
    text, mark, _ = text.partition("?")
    text = printable(text[: LONGEST + 1])
    if mark:
        text = f"{text}?{_REDACTED}"
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 3]}..."
    return f"'{text}'"
