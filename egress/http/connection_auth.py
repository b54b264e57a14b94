"""Authentication that a server ties to a connection instead of a request: NTLM, Negotiate and Kerberos (RFC 4559)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from egress.model.decision import Header

# A challenge list is not parsed: RFC 9110 section 11.6.1 warns that recipients disagree about commas in it, and an
# unclosed quote would hide what follows. Any occurrence of a scheme as a word counts. A false positive only prevents
# the reuse of a connection; a false negative would share an authenticated connection. Nego2 is Microsoft's second name
# for Negotiate.
_SCHEME: Final = re.compile(rb'(?:^|[\s,"])(?:ntlm|negotiate|nego2|kerberos)(?=$|[\s,"=])', re.IGNORECASE)

# RFC 4559 section 6: only a proxy that announces this in a 401 separates the authenticated connections of its clients.
PROXY_SUPPORT: Final[Header] = (b"Proxy-Support", b"Session-Based-Authentication")


def names_scheme(value: bytes) -> bool:
    """Whether a value of C{Authorization} or C{WWW-Authenticate} names a connection-based scheme.

    @param value: one field value; it may contain several challenges.
    """
    return _SCHEME.search(value) is not None


def has_credentials(fields: Iterable[Header]) -> bool:
    """Whether request fields carry credentials of a connection-based scheme."""
    return any(name.lower() == b"authorization" and names_scheme(value) for name, value in fields)
