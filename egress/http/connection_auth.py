"""Authentication that a server ties to a connection instead of a request: NTLM, Negotiate and Kerberos (RFC 4559)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from egress.model.decision import Header

# A challenge list is not parsed: RFC 9110 section 11.6.1 warns that recipients disagree about commas in it, and a
# quote that never closes would hide what follows.  Any occurrence of a scheme as a word counts.  A false positive only
# costs the reuse of a connection; a miss would share a login.  Nego2 is Microsoft's second name for Negotiate.
_SCHEME: Final = re.compile(rb'(?:^|[\s,"])(?:ntlm|negotiate|nego2|kerberos)(?=$|[\s,"=])', re.IGNORECASE)

# RFC 4559 section 6: only a proxy that says so in a 401 keeps the login of one client apart from other clients.
PROXY_SUPPORT: Final[Header] = (b"Proxy-Support", b"Session-Based-Authentication")


def names_scheme(value: bytes) -> bool:
    """Say whether a value of C{Authorization} or C{WWW-Authenticate} names a connection-based scheme.

    @param value: one field value; it may hold several challenges.
    """
    return _SCHEME.search(value) is not None


def has_credentials(fields: Iterable[Header]) -> bool:
    """Say whether request fields carry credentials of a connection-based scheme."""
    return any(name.lower() == b"authorization" and names_scheme(value) for name, value in fields)
