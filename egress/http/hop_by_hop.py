"""The fields that a proxy removes, adds or changes when it forwards a message (RFC 9110 section 7.6)."""

from __future__ import annotations

import re
from typing import Final

from egress.model.decision import Header, Headers

VIA_NAME: Final = b"egressproxy"
_VIA: Final = b" " + VIA_NAME

# The maximum number of members of Connection, including empty ones.
MAX_OPTIONS: Final = 256
# Most messages have one of these values.
_COMMON_OPTIONS: Final = {option: frozenset({option}) for option in (b"keep-alive", b"close")}
_TRAILERS: Final = re.compile(rb"(?:^|,)[ \t]*trailers[ \t]*(?:,|$)", re.IGNORECASE)

# RFC 9110 section 7.6.1, and the credentials and challenges of the proxy (sections 11.7.1 to 11.7.3), which concern
# only one hop.
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


# RFC 9110 section 6.5.1: trailers must not contain fields for framing, routing, authentication, request modifiers or
# content format. Some recipients merge trailers into the header section, and the decision is made before the trailers
# arrive.
NO_TRAILERS: Final = HOP_BY_HOP | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"set-cookie",
    b"trailer",
    b"via",
    b"www-authenticate",
}


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into lower-case members (RFC 9110 section 5.6.1)."""
    return [member for member in (part.strip(b" \t").lower() for part in value.split(b",")) if member]


def connection_options(value: bytes) -> frozenset[bytes]:
    """Parse C{Connection} (RFC 9110 section 7.6.1).

    @param value: the values of all such fields, as one list.
    @raise ValueError: if it has more members than any sender needs: each member takes time.
    """
    known = _COMMON_OPTIONS.get(value)
    if known is not None:
        return known
    if value.count(b",") >= MAX_OPTIONS:
        raise ValueError(f"Connection lists more than {MAX_OPTIONS} names")
    return frozenset(tokens(value))


def accepts_trailers(te: bytes) -> bool:
    """Whether a value of C{TE} lists trailers (RFC 9110 section 10.1.4); takes linear time for any number of
    members.
    """
    return _TRAILERS.search(te) is not None


def end_to_end(headers: Headers, nominated: frozenset[bytes] = frozenset()) -> list[Header]:
    """Remove the fields that concern only this hop.

    @param headers: the fields of a message.
    @param nominated: the lower-case field names that the message's C{Connection} lists.
    """
    if not nominated <= HOP_BY_HOP:
        dropped = HOP_BY_HOP | nominated
        return [header for header in headers if header[0].lower() not in dropped]
    return [header for header in headers if header[0].lower() not in HOP_BY_HOP]


def trailer_fields(headers: Headers) -> Headers:
    """Remove the fields that are not allowed in trailers, with hyphens or underscores.

    Gateways that turn fields into variables (RFC 3875 section 4.1.18) do not distinguish an underscore from a hyphen.
    """
    return tuple(header for header in headers if header[0].lower().replace(b"_", b"-") not in NO_TRAILERS)


def with_via(headers: list[Header], version: bytes) -> list[Header]:
    """Add this proxy to C{Via} (RFC 9110 section 7.6.3).

    @param headers: the fields of a message.
    @param version: the version of HTTP in which the message was received.
    """
    headers.append((b"Via", version + _VIA))
    return headers


def fields_size(headers: list[Header] | Headers) -> int:
    """The size of fields as HTTP/1 encodes them, in bytes."""
    return sum([len(name) + len(value) + 4 for name, value in headers])


def encode_fields(headers: list[Header] | Headers) -> bytes:
    """Encode fields, without the empty line that ends a head."""
    # Two joins take fewer instructions than a format for each field.
    return b"\r\n".join([b": ".join(header) for header in headers]) + b"\r\n" if headers else b""
