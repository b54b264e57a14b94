"""The negotiation of WebSocket extensions (RFC 6455 section 9.1) where the proxy reads messages."""

from __future__ import annotations

import re
from typing import Final

import attrs

from egress.model.decision import Header, Headers

FIELD: Final = b"sec-websocket-extensions"
_NEGOTIATION: Final = frozenset({FIELD, b"accept-encoding"})
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(
    rb"[ \t]*;[ \t]*(" + _TOKEN + rb")(?:[ \t]*=[ \t]*(" + _TOKEN + rb'|"' + _TOKEN + rb'"))?'
)
_DEFLATE: Final = re.compile(rb"permessage-deflate(?:" + _PARAMETER.pattern + rb")*", re.IGNORECASE)
_KNOWN: Final = frozenset(
    {
        b"server_no_context_takeover",
        b"client_no_context_takeover",
        b"server_max_window_bits",
        b"client_max_window_bits",
    }
)


@attrs.frozen
class Deflate:
    """The compression of messages that both sides agreed on (RFC 7692 section 7.1).

    @ivar client_takeover: whether a message of the client can refer to its earlier messages.
    @ivar server_takeover: whether a message of the origin can refer to its earlier messages.
    """

    client_takeover: bool = True
    server_takeover: bool = True


def _members(headers: Headers | list[Header]) -> list[bytes]:
    values = [value for name, value in headers if name.lower() == FIELD]
    return [member for value in values for member in (each.strip(b" \t") for each in value.split(b",")) if member]


def with_readable_messages(fields: list[Header]) -> list[Header]:
    """Change the fields of a request so that the proxy can read the messages of the response.

    Content codings are not accepted, and no WebSocket extension except permessage-deflate is offered.
    """
    kept = [field for field in fields if field[0].lower() not in _NEGOTIATION]
    offers = [member for member in _members(fields) if _DEFLATE.fullmatch(member)]
    if offers:
        kept.append((b"Sec-WebSocket-Extensions", b", ".join(offers)))
    return [*kept, (b"Accept-Encoding", b"identity")]


def negotiated(headers: Headers) -> Deflate | None:
    """Read the extensions that the origin accepted.

    @return: the compression; C{None} if there is none.
    @raise ValueError: for another extension, or for malformed parameters.
    """
    members = _members(headers)
    if not members:
        return None
    if len(members) > 1 or not _DEFLATE.fullmatch(members[0]):
        raise ValueError("the origin accepted a WebSocket extension that was not offered")
    names = [match[1].lower() for match in _PARAMETER.finditer(members[0])]
    if len(set(names)) < len(names) or not _KNOWN.issuperset(names):
        raise ValueError("the origin accepted permessage-deflate with invalid parameters")
    return Deflate(
        client_takeover=b"client_no_context_takeover" not in names,
        server_takeover=b"server_no_context_takeover" not in names,
    )
