"""The parser of HTTP/1 heads: it turns the bytes of one complete head into its components."""

from __future__ import annotations

import re
from typing import Final

import attr

from egress.http.connection_auth import names_scheme
from egress.http.events import (
    DELIMITED,
    HTTP_1_0,
    HTTP_1_1,
    NO_BODY,
    UNTIL_CLOSE,
    BodyKind,
    Framing,
    RequestHead,
    ResponseHead,
)
from egress.http.field_lines import LastFields, MalformedFields, TooManyFields, parse_fields
from egress.http.hop_by_hop import connection_options
from egress.model.decision import Headers
from egress.model.errors import (
    BadRequest,
    HeadTooLarge,
    OriginProtocolError,
    TargetTooLong,
    UnsupportedRequest,
    VersionNotSupported,
)


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class HeadLimits:
    """The limits of a head.

    @ivar head: the maximum size of a head in bytes, including its first line.
    @ivar fields: the maximum number of fields.
    @ivar target: the maximum size of a request-target in bytes.
    """

    head: Final[int]
    fields: Final[int]
    target: Final[int]

    def __init__(self, head: int, fields: int, target: int) -> None:
        self.head = head
        self.fields = fields
        self.target = target


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_UNTIL_CLOSE: Final = BodyKind.UNTIL_CLOSE
_EMPTY: Final[frozenset[bytes]] = frozenset()
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_MAX_LENGTH: Final = 2**63 - 1
_MAX_DIGITS: Final = 19
# The maximum number of bytes that are read of Accept.
MAX_ACCEPT: Final = 1024

# The fields that the parser evaluates. Most fields are not in the set, and one set look-up is faster than a comparison
# with each name.
REQUEST_FIELDS: Final = frozenset(
    {
        *(b"host", b"content-length", b"content_length", b"transfer-encoding", b"transfer_encoding", b"connection"),
        *(b"proxy-connection", b"upgrade", b"expect", b"proxy-authorization", b"accept", b"authorization"),
    }
)
RESPONSE_FIELDS: Final = frozenset(
    {
        *(b"content-length", b"content_length", b"transfer-encoding", b"transfer_encoding", b"connection"),
        *(b"proxy-connection", b"www-authenticate", b"persistent-auth"),
    }
)


def parse_content_length(value: bytes) -> int:
    """Parse a value of C{Content-Length} (RFC 9110 section 8.6).

    @raise MalformedFields: if it is not a number, or out of range.
    """
    # In HTTP/1, llhttp has verified that the value consists of digits. In HTTP/2, nothing has.
    if not value.isdigit():
        raise MalformedFields("the Content-Length is not a number")
    # llhttp ignores leading zeros, but Python limits the number of digits.
    length = int(value) if len(value) <= _MAX_DIGITS else _MAX_LENGTH + 1
    if length > _MAX_LENGTH:
        raise MalformedFields("the Content-Length is out of range")
    return length


def _options(connection: bytes) -> frozenset[bytes]:
    try:
        return connection_options(connection)
    except ValueError as error:
        raise MalformedFields(str(error)) from error


def parse_request_head(head: bytes, limits: HeadLimits, last: LastFields | None = None) -> RequestHead:
    """Parse one complete request head, including the empty line.

    @param head: the bytes of the head.
    @param limits: the limits of the head.
    @param last: parses the fields, with the same limit.
    @raise ClientError: describes the error.
    """
    line_end = head.index(b"\r\n")
    match = _REQUEST_LINE.fullmatch(head, 0, line_end)
    if match is None:
        raise BadRequest("the request line is not METHOD SP TARGET SP HTTP/1.1")
    method_bytes, target, major, minor = match.groups()
    if len(target) > limits.target:
        raise TargetTooLong(f"the request-target is over {limits.target} bytes")
    if major != b"1":
        raise VersionNotSupported("this proxy supports only HTTP/1.1")
    try:
        block = head[line_end + 2 :]
        headers = parse_fields(block, limits.fields) if last is None else last.parse(block)
        return request_head(method_bytes.decode("ascii"), target, minor != b"0", headers)
    except TooManyFields as excess:
        raise HeadTooLarge(f"the request has {excess}") from excess
    except MalformedFields as error:
        raise BadRequest(f"the request's fields are malformed: {error}") from error


def request_head(method: str, target: bytes, http11: bool, headers: Headers, framing: Framing = NO_BODY) -> RequestHead:
    """Evaluate the fields of a request.

    @param method: the method.
    @param target: the request-target.
    @param http11: whether the version is HTTP/1.1, or a later version with the same meaning of fields.
    @param headers: the fields, each of them valid.
    @param framing: the framing without a field about it.
    @raise BadRequest: describes the error.
    @raise UnsupportedRequest: if the proxy does not support the request.
    @raise MalformedFields: if a field is out of range.
    """
    if method.upper() == "TRACE":
        # RFC 9110 section 9.3.8: the response contains the request as received, which may be the one at the upstream
        # proxy.
        raise UnsupportedRequest("TRACE is not forwarded: its response would reveal credentials that a proxy added")
    host: bytes | None = None
    options = _EMPTY
    connection: bytes | None = None
    upgrade: bytes | None = None
    expects_continue = False
    proxy_authorization: bytes | None = None
    accept: bytes | None = None
    has_connection_credentials = False
    for name, value in headers:
        field = name.lower()
        if field not in REQUEST_FIELDS:
            continue
        match field:
            case b"host":
                if host is not None:
                    raise BadRequest("the request has more than one Host")
                host = value
            case b"content-length":
                if value != b"0" and value.startswith(b"0"):
                    raise BadRequest("the Content-Length has a leading zero, which some recipients read as octal")
                framing = Framing(_LENGTH, parse_content_length(value))
            case b"content_length" | b"transfer_encoding":
                # Gateways that turn fields into variables (RFC 3875 section 4.1.18) do not distinguish the two
                # spellings.
                raise BadRequest("a field that delimits content is spelt with an underscore")
            case b"transfer-encoding":
                if not http11:
                    raise BadRequest("HTTP/1.0 has no Transfer-Encoding")
                if value.lower() != b"chunked":
                    # An empty value is not a valid coding; most releases of llhttp reject it themselves.
                    fault = UnsupportedRequest if value else BadRequest
                    raise fault("the only supported transfer coding is chunked")
                framing = DELIMITED
            case b"connection" | b"proxy-connection":
                connection = value if connection is None else connection + b"," + value
            case b"upgrade":
                upgrade = value if upgrade is None else upgrade + b"," + value
            case b"expect":
                expects_continue = expects_continue or value.lower() == b"100-continue"
            case b"proxy-authorization":
                if proxy_authorization is not None:
                    raise BadRequest("the request has more than one Proxy-Authorization")
                proxy_authorization = value
            case b"accept":
                # A longer value is ignored: see L{egress.http.error_response.prefers_text}.
                accept = value if accept is None else accept[:MAX_ACCEPT] + b"," + value
            case b"authorization":  # pragma: no branch - the set has no other
                has_connection_credentials = has_connection_credentials or names_scheme(value)
    if host is None:
        # For a CONNECT, only the target matters (RFC 9110 section 9.3.6), and scanners and old clients send no Host
        # with it.
        if http11 and method != "CONNECT":
            raise BadRequest("the request has no Host")
    elif host.find(b"@") >= 0:  # see L{egress.http.field_lines.parse_fields}
        raise BadRequest("the Host contains credentials; send them in Authorization")
    if connection is not None:
        options = _options(connection)
    if framing.kind is _LENGTH and not framing.length:
        framing = NO_BODY
    if method == "CONNECT" and framing.has_body:
        raise BadRequest("a CONNECT must not have content")
    keep_alive = b"close" not in options and (http11 or b"keep-alive" in options)
    return RequestHead(
        method,
        target,
        HTTP_1_1 if http11 else HTTP_1_0,
        headers,
        framing,
        host,
        keep_alive,
        options,
        upgrade if b"upgrade" in options and http11 else None,
        expects_continue and http11 and framing.has_body,
        proxy_authorization,
        accept,
        has_connection_credentials,
    )


def parse_response_head(head: bytes, limits: HeadLimits, method: str, last: LastFields | None = None) -> ResponseHead:
    """Parse one complete response head, including the empty line.

    @param head: the bytes of the head.
    @param limits: the limits of the head.
    @param method: the method of the request, which determines the framing (RFC 9112 section 6.3).
    @param last: parses the fields, with the same limit.
    @raise OriginProtocolError: describes the error.
    """
    if len(head) > limits.head:
        raise OriginProtocolError(f"the origin's response head is over {limits.head} bytes")
    line_end = head.index(b"\r\n")
    match = _STATUS_LINE.fullmatch(head, 0, line_end)
    if match is None:
        raise OriginProtocolError("the origin's status line is malformed")
    minor, status_bytes, reason = match.groups(b"")
    try:
        block = head[line_end + 2 :]
        headers = parse_fields(block, limits.fields, response=True) if last is None else last.parse(block)
        return _response_head(int(status_bytes), reason, minor != b"0", headers, method)
    except MalformedFields as error:
        raise OriginProtocolError(f"the origin's response fields are malformed: {error}") from error


def _response_head(status: int, reason: bytes, http11: bool, headers: Headers, method: str) -> ResponseHead:
    framing = UNTIL_CLOSE
    options = _EMPTY
    connection: bytes | None = None
    connection_auth = False
    for name, value in headers:
        field = name.lower()
        if field not in RESPONSE_FIELDS:
            continue
        match field:
            case b"content-length":
                framing = Framing(_LENGTH, parse_content_length(value))
                if value != b"0" and value.startswith(b"0"):
                    # Some clients would read it as octal.
                    decimal = (name, b"%d" % framing.length)
                    headers = tuple(decimal if header == (name, value) else header for header in headers)
            case b"content_length" | b"transfer_encoding":
                raise MalformedFields("a field that delimits content is spelt with an underscore")
            case b"transfer-encoding":
                if not http11 or value.lower() != b"chunked" or framing is DELIMITED:
                    raise MalformedFields("the only supported transfer coding is chunked, once and in HTTP/1.1")
                framing = DELIMITED
            case b"connection" | b"proxy-connection":
                connection = value if connection is None else connection + b"," + value
            case b"www-authenticate":
                connection_auth = connection_auth or names_scheme(value)
            case b"persistent-auth":  # pragma: no branch - the set has no other
                # Only a server that has authenticated the connection sends it, whether or not it will authenticate
                # again.
                connection_auth = True
    if connection is not None:
        options = _options(connection)
    if status < 200 or status in (204, 304) or method == "HEAD":
        framing = NO_BODY
    keep_alive = b"close" not in options and (http11 or b"keep-alive" in options) and framing.kind is not _UNTIL_CLOSE
    version = HTTP_1_1 if http11 else HTTP_1_0
    return ResponseHead(status, reason, version, headers, framing, keep_alive, options, connection_auth)
