"""The parsers of what certutil and keytool print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from egress.trust.anchors import Entry, certificates_in_text

# A nickname, which can contain spaces, and the trust flags for TLS, for email and for code.
_NICKNAME: Final = re.compile(r"^(?P<name>.+?) +(?P<tls>[pPcCTuw]*),[pPcCTuw]*,[pPcCTuw]* *$")
_TRUSTED_CA: Final = "C"
_ALIAS: Final = re.compile(rb"^Alias name: (.+)$", re.MULTILINE)


def trusted_nicknames(listing: str) -> list[str]:
    """Return the nicknames of the certificates that a database trusts as CAs of servers.

    @param listing: the output of C{certutil -L}.
    """
    matches = map(_NICKNAME.match, listing.splitlines())
    found = (match["name"] for match in matches if match is not None and _TRUSTED_CA in match["tls"])
    return list(dict.fromkeys(found))


def entries_of_keytool(listing: bytes) -> Iterator[Entry]:
    """Yield the certificates of a Java trust store.

    @param listing: the output of C{keytool -list -rfc}, in English.
    """
    _, *parts = _ALIAS.split(listing)
    for alias, text in zip(parts[::2], parts[1::2], strict=True):
        for certificate in certificates_in_text(text):
            yield Entry(alias.decode("utf-8", "replace").strip(), certificate)


def last_line(*outputs: bytes) -> str:
    """Return the last line of the first output that has one, which usually names the error."""
    for output in outputs:
        lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
        if lines:
            return lines[-1]
    return "no output"
