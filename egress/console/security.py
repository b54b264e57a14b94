"""The checks of requests that a page of another site could send, and the fields of every response."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

COOKIE: Final = "egress_session"
"""The cookie with the id of a session."""

SECURE_COOKIE: Final = "__Host-egress_session"
"""The cookie of a browser that uses C{https}, by a reverse proxy."""

FORM_FIELD: Final = "csrf"
"""The field of a form with the token of the session."""

_SCHEMES: Final = ("http", "https")

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""The content security policy: no inline code, and nothing from another host."""

# With "no-referrer", browsers would send "Origin: null" with the console's own forms.
FIELDS: Final = (
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""The fields of every response of the console."""


def is_own_origin(host: bytes, origins: Sequence[bytes], sites: Sequence[bytes]) -> bool:
    """Return whether a page of the console sent a request that changes something.

    @param host: the C{Host} of the request, which is known.
    @param origins: the values of C{Origin}; every browser sends it with a form.
    @param sites: the values of C{Sec-Fetch-Site}, which older browsers do not send.
    """
    if len(sites) > 1 or (sites and sites[0] != b"same-origin"):
        return False
    own = {f"{scheme}://{host.decode('latin-1').lower()}" for scheme in _SCHEMES}
    return len(origins) == 1 and origins[0].decode("latin-1").lower() in own


def is_foreign_read(sites: Sequence[bytes], destinations: Sequence[bytes]) -> bool:
    """Return whether a page of another site embeds or fetches a page of the console.

    A link from another site is a navigation, which is harmless.
    """
    foreign = bool(sites) and sites[0] not in (b"same-origin", b"none")
    return foreign and destinations[:1] != [b"document"]


def is_own_form(token: str, given: Sequence[str]) -> bool:
    """Return whether a form has the token of its session."""
    return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogatepass"), token.encode())


def set_cookie(identifier: str, *, secure: bool) -> str:
    """Return the C{Set-Cookie} field of a new session.

    @param identifier: the id of the session; empty: the browser deletes the cookie.
    @param secure: whether the browser uses C{https}.
    """
    name = f"{SECURE_COOKIE}={identifier}; Secure" if secure else f"{COOKIE}={identifier}"
    return f"{name}; Path=/; HttpOnly; SameSite=Strict{'' if identifier else '; Max-Age=0'}"


def session_ids(values: Sequence[bytes]) -> list[str]:
    """Return the ids of sessions in the C{Cookie} fields of a request."""
    found = []
    for value in values:
        for piece in value.decode("latin-1").split(";"):
            name, _, identifier = piece.strip().partition("=")
            if name in (COOKIE, SECURE_COOKIE) and identifier:
                found.append(identifier)
    return found
