"""The encoding of forwarded heads: requests to the origin and responses to the client."""

from __future__ import annotations

from typing import Final

from egress.http.connection_auth import PROXY_SUPPORT
from egress.http.events import (
    DELIMITED,
    HTTP_1_0,
    UNTIL_CLOSE,
    BodyKind,
    ForwardedHead,
    Framing,
    RequestHead,
    ResponseHead,
)
from egress.http.hop_by_hop import accepts_trailers, encode_fields, end_to_end, with_via
from egress.http.max_forwards import decrement_max_forwards
from egress.http.upgrade import Upgrade
from egress.model.authority import Origin
from egress.model.decision import Header, Headers

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_DELIMITED: Final = BodyKind.DELIMITED
_UNTIL_CLOSE: Final = BodyKind.UNTIL_CLOSE
_REPLACED: Final = frozenset({b"host", b"expect"})
_CONTENT_LENGTH: Final = frozenset({b"content-length"})


def forwarded_fields(head: RequestHead, origin: Origin, upgrade: Upgrade | None = None) -> list[Header]:
    """The fields of the forwarded request, before C{Via}: the authorizer sees these fields.

    C{Host} is the first field and names the authority that is contacted, even if the client's C{Host} differs from an
    absolute-form target (RFC 9112 section 3.2.2). Fields for this hop are removed.

    @param head: the head that the client sent.
    @param origin: the destination.
    @param upgrade: the upgrade of the request, from L{requested_upgrade}.
    @raise MaxForwardsReached: if the proxy must respond itself; see L{decrement_max_forwards}.
    @raise BadRequest: if C{Max-Forwards} is malformed.
    """
    fields = [(b"Host", origin.host_field)]
    headers = decrement_max_forwards(head.headers) if head.method == "OPTIONS" else head.headers
    fields += end_to_end(headers, head.connection_options | _REPLACED)
    if head.expects_continue:
        # RFC 9110 section 10.1.1: not from HTTP/1.0, nor without content. Another value of the field is dropped: an
        # origin might treat it as the same expectation, and wait or respond unexpectedly.
        fields.append((b"Expect", b"100-continue"))
    if upgrade is not None:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade.protocol)]
    elif b"te" in head.connection_options and any(n.lower() == b"te" and accepts_trailers(v) for n, v in head.headers):
        # RFC 9110 section 10.1.4: the proxy forwards trailers, so it can announce this to the origin.
        fields += [(b"TE", b"trailers"), (b"Connection", b"TE")]
    return with_framing(fields, head.framing)


def with_framing(fields: list[Header], framing: Framing) -> list[Header]:
    """Set the framing fields for this hop."""
    if framing.kind is _DELIMITED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif framing.kind is _LENGTH:
        for name, _ in fields:
            if name.lower() == b"content-length":
                return fields
        # If the client lists Content-Length in Connection, the field was removed; the content still needs it.
        fields.append((b"Content-Length", b"%d" % framing.length))
    return fields


def forwarded_head(
    request: RequestHead, target: bytes, fields: list[Header], *, proxy_authorization: bytes | None = None
) -> ForwardedHead:
    """The head of the forwarded request.

    @param request: the head that the client sent.
    @param target: the request-target: origin-form, asterisk-form, or absolute-form for an upstream proxy.
    @param fields: the result of L{forwarded_fields}.
    @param proxy_authorization: the upstream proxy's credentials.
    """
    outgoing = with_via(list(fields), request.version)
    if proxy_authorization is not None:
        outgoing.append((b"Proxy-Authorization", proxy_authorization))
    return ForwardedHead(request.method, target, outgoing, request.framing)


def encode_request(head: ForwardedHead) -> bytes:
    """Encode a request head for the origin, or for an upstream proxy, unless this was done in advance."""
    if head.encoded is not None:
        return head.encoded
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method.encode("ascii"), head.target, encode_fields(head.fields))


def response_framing(head: ResponseHead, request: RequestHead) -> Framing:
    """The framing of a response towards the client.

    Content that ends with the origin connection is sent in chunks to an HTTP/1.1 client, so that the connection
    persists and truncation is detectable. An HTTP/1.0 client never gets chunks.
    """
    framing = head.framing
    if framing.kind in (_DELIMITED, _UNTIL_CLOSE):
        return UNTIL_CLOSE if request.version == HTTP_1_0 else DELIMITED
    return framing


def encode_response(head: ResponseHead, request: RequestHead, framing: Framing, *, keep_alive: bool) -> bytes:
    """Encode a final response head for the client.

    @param head: the head that the origin sent.
    @param request: the head of the request.
    @param framing: the result of L{response_framing}.
    @param keep_alive: whether the client connection stays open afterwards.
    """
    fields = with_via(returned_fields(head), head.version)
    if framing.kind is _DELIMITED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif framing.kind is _LENGTH:
        with_framing(fields, framing)
    if head.connection_auth and head.status == 401 and PROXY_SUPPORT not in fields:
        fields.append(PROXY_SUPPORT)
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    elif request.version == HTTP_1_0:
        fields.append((b"Connection", b"keep-alive"))
    return _response(head, fields)


def encode_interim(head: ResponseHead) -> bytes:
    """Encode an interim response head (1xx) for the client."""
    return _response(head, returned_fields(head))


def interim_size(head: ResponseHead) -> int:
    """The size of an interim response in bytes, as HTTP/1 encodes it."""
    return len(encode_interim(head))


def encode_switch(head: ResponseHead, upgrade: Upgrade) -> bytes:
    """Encode a C{101 (Switching Protocols)} for the client.

    @param head: the head that the origin sent.
    @param upgrade: the upgrade of the request.
    """
    fields = with_via(returned_fields(head), head.version)
    return _response(head, [*fields, (b"Connection", b"Upgrade"), (b"Upgrade", upgrade.protocol)])


def returned_fields(head: ResponseHead) -> list[Header]:
    """The fields of a response that concern not only the hop between the origin and the proxy."""
    if head.status < 200 or head.status == 204:
        # RFC 9110 section 8.6: no length here. A client that used it would read the next response as content.
        return end_to_end(head.headers, head.connection_options | _CONTENT_LENGTH)
    return end_to_end(head.headers, head.connection_options)


def _response(head: ResponseHead, fields: list[Header] | Headers) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, encode_fields(fields))
