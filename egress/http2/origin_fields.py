"""The fields of messages to and from an origin, as HTTP/2 encodes them (RFC 9113 sections 8.1 to 8.3).

Fields are checked as in HTTP/1, so that a response means the same to a client of any version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from egress.http.connection_auth import names_scheme
from egress.http.events import DELIMITED, HTTP_2, NO_BODY, BodyKind, ForwardedHead, Framing, ResponseHead
from egress.http.field_lines import FIELD_VALUE, MalformedFields
from egress.http.heads import RESPONSE_FIELDS, HeadLimits, parse_content_length
from egress.http.hop_by_hop import fields_size, trailer_fields
from egress.model.decision import Header, Headers
from egress.model.errors import OriginProtocolError

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_EMPTY: Final = Framing(BodyKind.LENGTH, 0)
_NOTHING: Final[frozenset[bytes]] = frozenset()

# A name is a token in lower case (RFC 9113 section 8.2.1).
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
# RFC 9113 section 8.2.2.  TE is permitted only in requests, with a single value.
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
_NOT_SENT: Final = _CONNECTION_SPECIFIC | {b"host"}
_TRAILERS: Final[Header] = (b"te", b"trailers")


def request_fields(head: ForwardedHead, scheme: bytes) -> list[Header]:
    """The header list of a request.

    @param head: the head of the request.
    @param scheme: the scheme of the origin.
    """
    authority = b""
    fields: list[Header] = []
    for name, value in head.fields:
        field = name.lower()
        if field not in _NOT_SENT:
            fields.append((field, value.strip(b" \t")))
        elif field == b"host":
            authority = value
        elif field == b"te":
            # The writer of the head leaves only this value.
            fields.append(_TRAILERS)
    return [
        (b":method", head.method.encode("ascii")),
        (b":scheme", scheme),
        (b":authority", authority),
        (b":path", head.target),
        *fields,
    ]


def request_trailers(trailers: Headers) -> list[Header]:
    """The header list of the trailers of a request."""
    return [(name.lower(), value.strip(b" \t")) for name, value in trailers if name.lower() not in _NOT_SENT]


def response_head(fields: Sequence[Header], method: str, limits: HeadLimits, *, ended: bool) -> ResponseHead:
    """The head of a response.

    @param fields: the header list.
    @param method: the method of the request.
    @param limits: the limits of the head.
    @param ended: whether the stream ends with the head.
    @raise OriginProtocolError: if the response is malformed.
    """
    if not fields or fields[0][0] != b":status":
        raise OriginProtocolError("the origin's response does not begin with :status")
    value = fields[0][1]
    if _STATUS.fullmatch(value) is None:
        raise OriginProtocolError("the origin's :status is malformed")
    status = int(value)
    if status == 101:
        raise OriginProtocolError("the origin sent a 101, which HTTP/2 does not have")
    if status < 200 and ended:
        raise OriginProtocolError("the origin ended the stream with an interim response")
    try:
        return _response_head(status, _checked(fields[1:], limits), method, ended)
    except MalformedFields as error:
        raise OriginProtocolError(f"the origin's response fields are malformed: {error}") from error


def _response_head(status: int, headers: Headers, method: str, ended: bool) -> ResponseHead:
    framing = DELIMITED
    connection_auth = False
    for at, (name, value) in enumerate(headers):
        if name not in RESPONSE_FIELDS:
            continue
        match name:
            case b"content-length":
                if framing.kind is _LENGTH:
                    raise MalformedFields("the Content-Length is repeated")
                framing = Framing(_LENGTH, parse_content_length(value))
                if value != b"0" and value.startswith(b"0"):
                    # Some clients would read it as octal.
                    headers = (*headers[:at], (name, b"%d" % framing.length), *headers[at + 1 :])
            case b"content_length" | b"transfer_encoding":
                raise MalformedFields("a field that delimits content is spelt with an underscore")
            case b"www-authenticate":
                connection_auth = connection_auth or names_scheme(value)
            case b"persistent-auth":  # pragma: no branch - the connection-specific fields were rejected
                connection_auth = True
    if status < 200 or status in (204, 304) or method == "HEAD":
        framing = NO_BODY
    elif ended:
        if framing.length:
            raise MalformedFields("the Content-Length announces content, but the stream ends")
        framing = _EMPTY
    return ResponseHead(status, b"", HTTP_2, headers, framing, True, _NOTHING, connection_auth)


def response_trailers(fields: Sequence[Header], limits: HeadLimits) -> Headers:
    """The trailers of a response that are allowed in trailers.

    @param fields: the header list.
    @param limits: the limits of a head, which apply to trailers as well.
    @raise OriginProtocolError: if they are malformed.
    """
    try:
        return trailer_fields(_checked(fields, limits))
    except MalformedFields as error:
        raise OriginProtocolError(f"the origin's trailers are malformed: {error}") from error


def _checked(fields: Sequence[Header], limits: HeadLimits) -> Headers:
    """Check names and values, and remove white space around values.

    HTTP/2 permits no such white space, but several origins send it, and clients accept it.
    """
    if len(fields) > limits.fields:
        raise MalformedFields(f"more than {limits.fields} fields")
    checked: list[Header] = []
    for name, value in fields:
        if _NAME.fullmatch(name) is None:
            if name.startswith(b":"):
                raise MalformedFields("a pseudo-header field is unknown, repeated, or not at the beginning")
            raise MalformedFields("a name is not a token in lower case")
        if name in _CONNECTION_SPECIFIC:
            raise MalformedFields(f"{name.decode('ascii')} is not permitted in HTTP/2")
        if FIELD_VALUE.fullmatch(value) is None:
            raise MalformedFields("a value contains control characters")
        checked.append((name, value.strip(b" \t")))
    if fields_size(checked) > limits.head:
        raise MalformedFields(f"more than {limits.head} bytes")
    return tuple(checked)
