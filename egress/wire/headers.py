"""What a proxy does to the fields of a message on their way (RFC 9110 section 7.6)."""

from __future__ import annotations

from typing import Final

from egress.model.decision import Header, Headers

VIA_NAME: Final = b"egressproxy"

# RFC 9110 section 7.6.1, and the proxy's own credentials and challenges (sections 11.7.1 to 11.7.3), which concern one
# hop only.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
    }
)


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into lower-case members (RFC 9110 section 5.6.1)."""
    return [member for member in (part.strip(b" \t").lower() for part in value.split(b",")) if member]


def end_to_end(headers: Headers, nominated: frozenset[bytes] = frozenset()) -> list[Header]:
    """Leave out the fields that concern this hop only.

    @param nominated: the lower-case field names that the message's C{Connection} lists.
    """
    if nominated:
        dropped = HOP_BY_HOP | nominated
        return [header for header in headers if header[0].lower() not in dropped]
    return [header for header in headers if header[0].lower() not in HOP_BY_HOP]


def with_via(headers: list[Header], http11: bool) -> list[Header]:
    """Add this proxy to C{Via} (RFC 9110 section 7.6.3).

    @param http11: the version in which the message was received.
    """
    headers.append((b"Via", (b"1.1 " if http11 else b"1.0 ") + VIA_NAME))
    return headers


def encode_fields(headers: list[Header] | Headers) -> bytes:
    """Serialize fields; the empty line that ends a head is not part of it."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])
