"""The gRPC call that a request makes: its service and its method."""

from __future__ import annotations

import enum
import re
from typing import Final

import attrs

from egress.model.decision import Headers


class Kind(enum.Enum):
    """The form of the messages and of the status.

    @cvar GRPC: messages in the content, the status in trailers.
    @cvar WEB: gRPC-Web, with the trailers as the last frame of the content.
    @cvar WEB_TEXT: gRPC-Web with the content in base64.
    """

    GRPC = "application/grpc"
    WEB = "application/grpc-web"
    WEB_TEXT = "application/grpc-web-text"


@attrs.frozen
class Call:
    """The call of a gRPC request.

    @ivar kind: the form of the messages.
    @ivar subtype: the encoding of the messages, as in C{"proto"} and C{"json"}, in lower case.
    @ivar service: the full name of the service, as in C{"package.Service"}.
    @ivar method: the name of the method.
    """

    kind: Kind
    subtype: str
    service: str
    method: str


CALL_ATTRIBUTES: Final = frozenset({"method", "path", "query", "header:content-type", "header:content_type"})
"""The request attributes that determine the call (L{egress.model.decision.Decision.cache_key})."""

_KINDS: Final = {
    b"application/grpc": Kind.GRPC,
    b"application/grpc-web": Kind.WEB,
    b"application/grpc-web-text": Kind.WEB_TEXT,
}
# Without a subtype, messages are Protocol Buffers.
_PROTO: Final = "proto"
_TYPE: Final = re.compile(
    rb"(application/grpc(?:-web(?:-text)?)?)(?:\+([0-9a-z][0-9a-z._-]{0,63}))?(?:[ \t]*;[\t !#-~]*)?", re.IGNORECASE
)
# Names as protoc accepts them. Servers split at the last slash, and some decode percent-encoding.
_NAME: Final = "[A-Za-z_][A-Za-z0-9_]{0,254}"
_PATH: Final = re.compile(rf"/({_NAME}(?:\.{_NAME}){{0,30}})/({_NAME})")
_CONTENT_TYPE: Final = b"content-type"
_SPELLINGS: Final = frozenset({_CONTENT_TYPE, b"content_type"})
# To compare the length first takes a third of the time, and each POST is examined.
_LENGTH: Final = len(_CONTENT_TYPE)
_GRPC: Final = b"grpc"


def kind_of(content_type: bytes) -> Kind | None:
    """Return the kind of gRPC that a C{Content-Type} names; C{None} if it is another type."""
    found = _TYPE.fullmatch(content_type)
    return None if found is None else _KINDS[found[1].lower()]


def kind_of_request(method: str, headers: Headers) -> Kind | None:
    """Return the kind of gRPC that a request uses, whatever its path; C{None} if it is not gRPC."""
    # Most requests end here: each gRPC request is a POST.
    if method != "POST":
        return None
    content_type = None
    for name, value in headers:
        if len(name) == _LENGTH and name.lower() == _CONTENT_TYPE:
            if content_type is not None:
                return None
            content_type = value
    return None if content_type is None else kind_of(content_type)


def call_of(method: str, path: str, headers: Headers) -> Call | None:
    """Return the call of a request that every server reads as the same gRPC call; C{None} for all other requests.

    @param method: the HTTP method.
    @param path: path and query, as sent.
    @param headers: the header fields.
    """
    if method != "POST":
        return None
    content_type = None
    for name, value in headers:
        if len(name) == _LENGTH and name.lower() in _SPELLINGS:
            # Not all servers read a spelling with an underscore.
            if content_type is not None or b"_" in name:
                return None
            content_type = value
    found = None if content_type is None else _TYPE.fullmatch(content_type)
    names = None if found is None else _PATH.fullmatch(path)
    if found is None or names is None:
        return None
    subtype = _PROTO if found[2] is None else found[2].decode("ascii").lower()
    return Call(_KINDS[found[1].lower()], subtype, names[1], names[2])


def may_be_call(headers: Headers) -> bool:
    """Whether some server may read a request as a gRPC call: its content type mentions gRPC."""
    return any(name.lower() in _SPELLINGS and _GRPC in value.lower() for name, value in headers)
