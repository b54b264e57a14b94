"""The fields of requests and responses on an HTTP/2 connection with a client (RFC 9113 sections 8.1 to 8.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from egress.http.error_response import ErrorResponse
from egress.http.events import DELIMITED, HTTP_2, NO_BODY, BodyKind, End, RequestHead, ResponseHead
from egress.http.field_lines import MalformedFields
from egress.http.heads import HeadLimits, request_head
from egress.http.hop_by_hop import fields_size, trailer_fields, with_via
from egress.http.upgrade import accept_of
from egress.http.writers import returned_fields, with_framing
from egress.model.decision import Header, Headers
from egress.model.errors import BadRequest, HeadTooLarge, TargetTooLong
from egress.model.protocol import WEBSOCKET

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH

_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
# RFC 9113 section 8.2.2.
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
# The characters of L{egress.http.field_lines}, without capitals. The lines are joined for one search in all of them.
_NAMES: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+\n)*")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|[ \t]\n|\n[ \t]")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_WEBSOCKET_KEY: Final = b"sec-websocket-key"
_WEBSOCKET_ACCEPT: Final = b"sec-websocket-accept"
_TE: Final = frozenset({b"te"})
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()


class MalformedMessage(ValueError):
    """The message is malformed, which is an error of its stream (RFC 9113 section 8.1.1)."""


@attrs.frozen
class ClientRequest:
    """A request of a client.

    @ivar head: the head. Its target is the path, or the authority of a C{CONNECT}.
    @ivar scheme: the scheme; empty for a C{CONNECT}.
    @ivar protocol: the protocol of an extended C{CONNECT} (RFC 8441).
    """

    head: RequestHead
    scheme: bytes
    protocol: bytes | None


def parse_request(fields: Sequence[Header], limits: HeadLimits, *, ended: bool) -> ClientRequest:
    """Parse the fields of a request.

    @param fields: the fields as received.
    @param limits: the limits of a head.
    @param ended: whether the message ends with them.
    @raise MalformedMessage: describes the error.
    @raise ClientError: if the message is well-formed in HTTP/2, and the request is not valid.
    """
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in pseudo:
            raise MalformedMessage("a pseudo-header field is unknown or repeated")
        pseudo[name] = value
    regular = list(fields[len(pseudo) :])
    if len(regular) > limits.fields:
        raise HeadTooLarge(f"the request has more than {limits.fields} fields")
    _check(regular, pseudo.values())
    regular = _joined(regular)
    method = pseudo.get(b":method")
    if method is None or _METHOD.fullmatch(method) is None:
        raise MalformedMessage("the method is missing, or contains a character that is not allowed")
    target, scheme = _target(method, pseudo)
    if len(target) > limits.target:
        raise TargetTooLong(f"the request-target is over {limits.target} bytes")
    if fields_size(regular) + len(target) > limits.head:
        raise HeadTooLarge(f"the request head is over {limits.head} bytes")
    authority = pseudo.get(b":authority")
    if authority is not None:
        regular = _with_host(regular, authority)
    framing = NO_BODY if ended or method == b"CONNECT" else DELIMITED
    try:
        head = request_head(method.decode("ascii"), target, True, tuple(regular), framing)
    except MalformedFields as error:
        raise MalformedMessage(str(error)) from error
    if ended and head.framing.kind is _LENGTH:
        raise MalformedMessage("the Content-Length announces content, and there is none")
    te = any(name == b"te" for name, _ in regular)
    head = RequestHead(
        head.method,
        target,
        HTTP_2,
        head.headers,
        head.framing,
        head.host,
        True,
        _TE if te else _NO_OPTIONS,
        None,
        head.expects_continue,
        head.proxy_authorization,
        head.accept,
        head.has_connection_credentials,
    )
    return ClientRequest(head, scheme, pseudo.get(b":protocol"))


def _check(fields: Sequence[Header], more_values: Sequence[bytes] | object = ()) -> None:
    """Check the names and values of fields.

    @param fields: the fields without pseudo-header fields.
    @param more_values: further values.
    @raise MalformedMessage: describes the error.
    """
    names = b"".join([b"%b\n" % name for name, _ in fields])
    if names.count(b"\n") != len(fields) or _NAMES.fullmatch(names) is None:
        raise MalformedMessage("a field name is empty, or contains a capital or another character that is not allowed")
    values = [value for _, value in fields]
    values += more_values  # type: ignore[arg-type]
    # A line feed at both ends, so that the search needs no case for the first and the last value.
    joined = b"\n%b\n" % b"\n".join(values)
    if joined.count(b"\n") != max(1, len(values)) + 1 or _BAD_VALUE.search(joined):
        raise MalformedMessage("a field value contains a character that is not allowed, or white space at an end")


def _joined(fields: list[Header]) -> list[Header]:
    """Reject the fields that concern a connection, and join the cookies (RFC 9113 section 8.2.3)."""
    cookies: list[bytes] = []
    lengths = 0
    for name, value in fields:
        if name in _CONNECTION_SPECIFIC:
            raise MalformedMessage(f"the field {name.decode('ascii')} does not exist in HTTP/2")
        if name == b"te" and value.lower() != b"trailers":
            raise MalformedMessage("the only value of TE in HTTP/2 is trailers")
        if name == b"cookie":
            cookies.append(value)
        elif name == b"content-length":
            lengths += 1
            if not value.isdigit():
                raise MalformedMessage("the Content-Length is not a number")
    if lengths > 1:
        raise MalformedMessage("the message has more than one Content-Length")
    if len(cookies) > 1:
        fields = [field for field in fields if field[0] != b"cookie"]
        # The last one can be empty, and a value does not end with white space.
        fields.append((b"cookie", b"; ".join(cookies).rstrip(b" ")))
    return fields


def _target(method: bytes, pseudo: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the request-target and the scheme."""
    scheme, path, authority = pseudo.get(b":scheme"), pseudo.get(b":path"), pseudo.get(b":authority")
    extended = b":protocol" in pseudo
    if method == b"CONNECT" and not extended:
        if scheme is not None or path is not None or not authority:
            raise MalformedMessage("a CONNECT has an authority, and neither a scheme nor a path")
        return authority, b""
    if extended and method != b"CONNECT":
        raise MalformedMessage("only a CONNECT has a protocol")
    if not scheme or not path:
        raise MalformedMessage("the scheme or the path is missing")
    if path[:1] != b"/" and not (path == b"*" and method == b"OPTIONS"):
        raise MalformedMessage("the path does not start with a slash")
    return path, scheme.lower()


def _with_host(fields: list[Header], authority: bytes) -> list[Header]:
    """Put the authority in place of C{Host}, which must not differ from it (RFC 9113 section 8.3.1)."""
    hosts = [value for name, value in fields if name == b"host"]
    if any(host.lower() != authority.lower() for host in hosts):
        raise BadRequest("Host and :authority differ")
    if len(hosts) > 1:
        raise BadRequest("the request has more than one Host")
    return [(b"host", authority), *(field for field in fields if field[0] != b"host")]


def websocket_head(head: RequestHead, key: bytes) -> RequestHead:
    """Translate an extended C{CONNECT} for a WebSocket (RFC 8441 section 5) into the request of HTTP/1.1.

    @param head: the head of the C{CONNECT}.
    @param key: the value of C{Sec-WebSocket-Key}, which HTTP/2 does not use.
    """
    fields = [field for field in head.headers if field[0] != _WEBSOCKET_KEY]
    return RequestHead(
        "GET",
        head.target,
        HTTP_2,
        (*fields, (_WEBSOCKET_KEY, key)),
        NO_BODY,
        head.host,
        True,
        head.connection_options | {b"upgrade"},
        WEBSOCKET,
        False,
        head.proxy_authorization,
        head.accept,
        head.has_connection_credentials,
    )


def websocket_key(head: RequestHead) -> bytes | None:
    """The C{Sec-WebSocket-Key} of an extended C{CONNECT}: some clients send it in spite of RFC 8441 section 5."""
    return next((value for name, value in head.headers if name == _WEBSOCKET_KEY), None)


def switch_fields(head: ResponseHead, key: bytes | None = None) -> list[Header]:
    """The fields of the response to an extended C{CONNECT} (RFC 8441 section 5).

    @param head: the C{101} of the origin.
    @param key: the client's key. undici requires the C{Sec-WebSocket-Accept} of HTTP/1.1.
    """
    fields = [field for field in returned_fields(head) if field[0].lower() != _WEBSOCKET_ACCEPT]
    if key is not None:
        fields.append((_WEBSOCKET_ACCEPT, accept_of(key)))
    return _with_status(200, with_via(fields, head.version))


def parse_trailers(fields: Sequence[Header], limits: HeadLimits) -> End:
    """Parse the fields after the content of a request.

    @raise MalformedMessage: describes the error.
    """
    if len(fields) > limits.fields or fields_size(tuple(fields)) > limits.head:
        raise MalformedMessage("the trailers are over the limit")
    _check(fields)
    return End(trailer_fields(tuple(fields)))


def response_fields(head: ResponseHead) -> list[Header]:
    """The fields of a final response.

    @param head: the head that the origin sent.
    """
    fields = with_via(returned_fields(head), head.version)
    if head.framing.kind is _LENGTH:
        with_framing(fields, head.framing)
    return _with_status(head.status, fields)


def interim_fields(head: ResponseHead) -> list[Header]:
    """The fields of an interim response (1xx)."""
    return _with_status(head.status, returned_fields(head))


def error_fields(response: ErrorResponse) -> list[Header]:
    """The fields of an error response of the proxy."""
    return _with_status(response.status, response.fields)


def _with_status(status: int, fields: Sequence[Header]) -> list[Header]:
    return [(b":status", b"%d" % status), *[(name.lower(), value) for name, value in fields]]


def lower_case(fields: Headers) -> Headers:
    """Fields with names in lower case."""
    return tuple([(name.lower(), value) for name, value in fields])
