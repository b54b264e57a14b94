"""The heads that a proxy writes: a request on its way out, an answer on its way back."""

from __future__ import annotations

from typing import Final

from egress.http.body import CHUNKED, BodyKind, Framing
from egress.http.connection_auth import PROXY_SUPPORT
from egress.http.heads import RequestHead, ResponseHead
from egress.http.hop_by_hop import accepts_trailers, encode_fields, end_to_end, with_via
from egress.http.max_forwards import decrement_max_forwards
from egress.http.upgrade import Upgrade
from egress.model.authority import Origin
from egress.model.decision import Header, Headers

_WRITTEN_ANEW: Final = frozenset({b"host", b"expect"})
_CONTENT_LENGTH: Final = frozenset({b"content-length"})


def forwarded_fields(head: RequestHead, origin: Origin, upgrade: Upgrade | None = None) -> list[Header]:
    """The fields of a request as they will be forwarded, before C{Via}: what the authorizer gets to see.

    C{Host} comes first and is what will be contacted, whatever the client wrote beside an absolute-form target (RFC
    9112 section 3.2.2).  Fields that this hop consumes are gone.

    @param upgrade: what the origin is asked to switch to, as L{requested_upgrade} gives it.
    @raise MaxForwardsReached: when the proxy has to answer itself; see L{decrement_max_forwards}.
    @raise BadRequest: when that cannot be told.
    """
    fields = [(b"Host", origin.host_field)]
    headers = decrement_max_forwards(head.headers) if head.method == "OPTIONS" else head.headers
    fields += end_to_end(headers, head.connection_options | _WRITTEN_ANEW)
    if head.expects_continue:
        # RFC 9110 section 10.1.1: not from HTTP/1.0, nor without content.  What else may stand there, an origin might
        # take for the same expectation, and wait or answer where we do not expect it.
        fields.append((b"Expect", b"100-continue"))
    if upgrade is not None:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade.protocol)]
    elif b"te" in head.connection_options and any(n.lower() == b"te" and accepts_trailers(v) for n, v in head.headers):
        # RFC 9110 section 10.1.4: trailers reach the client through us, so the origin may be told that they do.
        fields += [(b"TE", b"trailers"), (b"Connection", b"TE")]
    return _with_framing(fields, head.framing)


def _with_framing(fields: list[Header], framing: Framing) -> list[Header]:
    """Make the framing fields say how the content is delimited on this hop."""
    if framing.kind is BodyKind.CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif framing.kind is BodyKind.LENGTH:
        for name, _ in fields:
            if name.lower() == b"content-length":
                return fields
        # A client that lists Content-Length in Connection would take away what delimits its content.
        fields.append((b"Content-Length", b"%d" % framing.length))
    return fields


def encode_request(
    method: str, target: bytes, fields: list[Header], *, http11: bool, proxy_authorization: bytes | None = None
) -> bytes:
    """Serialize a request head for the origin, or for an upstream proxy.

    @param target: the request-target: origin-form, asterisk-form, or absolute-form for an upstream proxy.
    @param fields: as L{forwarded_fields} gives them.
    @param http11: the version in which the client sent it, for C{Via}.
    @param proxy_authorization: the upstream proxy's credentials.
    """
    outgoing = with_via(list(fields), http11)
    if proxy_authorization is not None:
        outgoing.append((b"Proxy-Authorization", proxy_authorization))
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), target, encode_fields(outgoing))


def response_framing(head: ResponseHead, request: RequestHead) -> Framing:
    """How the content of an answer is delimited towards the client.

    What the origin ends by closing is chunked for a client that knows chunks, so that the connection persists and a cut
    is told from an end; a 1.0 client gets neither.
    """
    framing = head.framing
    if framing.kind in (BodyKind.CHUNKED, BodyKind.UNTIL_CLOSE):
        return CHUNKED if request.http11 else Framing(BodyKind.UNTIL_CLOSE)
    return framing


def encode_response(head: ResponseHead, request: RequestHead, framing: Framing, *, keep_alive: bool) -> bytes:
    """Serialize a final response head for the client.

    @param framing: as L{response_framing} gives it.
    @param keep_alive: whether the client's connection stays open afterwards.
    """
    fields = with_via(_returned_fields(head), head.http11)
    if framing.kind is BodyKind.CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif framing.kind is BodyKind.LENGTH:
        _with_framing(fields, framing)
    if head.connection_auth and head.status == 401 and PROXY_SUPPORT not in fields:
        fields.append(PROXY_SUPPORT)
    if not keep_alive:
        fields.append((b"Connection", b"close"))
    elif not request.http11:
        fields.append((b"Connection", b"keep-alive"))
    return _response(head, fields)


def encode_interim(head: ResponseHead) -> bytes:
    """Serialize an interim response head (1xx) for the client."""
    return _response(head, _returned_fields(head))


def encode_switch(head: ResponseHead, upgrade: Upgrade) -> bytes:
    """Serialize a C{101 (Switching Protocols)} for the client.

    @param upgrade: what the client asked for.
    """
    fields = with_via(_returned_fields(head), head.http11)
    return _response(head, [*fields, (b"Connection", b"Upgrade"), (b"Upgrade", upgrade.protocol)])


def _returned_fields(head: ResponseHead) -> list[Header]:
    if head.status < 200 or head.status == 204:
        # RFC 9110 section 8.6: no length there; a client that believed one would take the next answer for content.
        return end_to_end(head.headers, head.connection_options | _CONTENT_LENGTH)
    return end_to_end(head.headers, head.connection_options)


def _response(head: ResponseHead, fields: list[Header] | Headers) -> bytes:
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, encode_fields(fields))
