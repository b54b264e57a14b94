"""The checks of requests that a page of another site could send, and the fields of every response."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

COOKIE: Final = "egress_session"
"""The begin of the name of the cookie with the id of a session."""

_SECURE_PREFIX: Final = "__Host-"

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


def is_foreign_link(sites: Sequence[bytes]) -> bool:
    """Return whether a page of another site links to the page.

    The browser then does not send a C{SameSite=Strict} cookie, so it can be signed in.
    """
    return list(sites) == [b"cross-site"]


def is_own_form(token: str, given: Sequence[str]) -> bool:
    """Return whether a form has the token of its session."""
    return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "surrogatepass"), token.encode())


def _cookie_name(host: bytes) -> str:
    """Return the name of the cookie: browsers send the cookies of a host to all of its ports."""
    port = host.decode("latin-1").rpartition("]")[2].partition(":")[2]
    return f"{COOKIE}_{port}" if port else COOKIE


def set_cookie(host: bytes, identifier: str, *, secure: bool) -> str:
    """Return the C{Set-Cookie} field of a new session.

    @param host: the C{Host} of the request, which is known.
    @param identifier: the id of the session; empty: the browser deletes the cookie.
    @param secure: whether the browser uses C{https}.
    """
    name = _cookie_name(host)
    pair = f"{_SECURE_PREFIX}{name}={identifier}; Secure" if secure else f"{name}={identifier}"
    return f"{pair}; Path=/; HttpOnly; SameSite=Strict{'' if identifier else '; Max-Age=0'}"


def session_ids(host: bytes, values: Sequence[bytes]) -> list[str]:
    """Return the ids of sessions in the C{Cookie} fields of a request.

    @param host: the C{Host} of the request, which is known.
    @param values: the values of the fields.
    """
    wanted = _cookie_name(host)
    found = []
    for value in values:
        for piece in value.decode("latin-1").split(";"):
            name, _, identifier = piece.strip().partition("=")
            if name in (wanted, _SECURE_PREFIX + wanted) and identifier:
                found.append(identifier)
    return found
