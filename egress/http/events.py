"""The events of a request or response, independent of the HTTP version that carries it."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from egress.model.decision import Header, Headers

# The versions of HTTP, as C{Via} names them (RFC 9110 section 7.6.3).
HTTP_1_0: Final = b"1.0"
HTTP_1_1: Final = b"1.1"
HTTP_2: Final = b"2"

VERSION_NAMES: Final = {HTTP_1_0: "1.0", HTTP_1_1: "1.1", HTTP_2: "2"}
"""The versions as texts, for records."""


class BodyKind(enum.Enum):
    """The way in which the end of the content is marked.

    @cvar NONE: there is no content.
    @cvar LENGTH: C{Content-Length} announces the number of bytes.
    @cvar DELIMITED: the sender marks the end, with the chunked coding of HTTP/1.1 or with the end of a stream.
    @cvar UNTIL_CLOSE: the content ends with the connection (responses only).
    """

    NONE = "none"
    LENGTH = "content-length"
    DELIMITED = "delimited"
    UNTIL_CLOSE = "until-close"


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_NONE: Final = BodyKind.NONE


@attrs.frozen
class Framing:
    """The framing of a message's content.

    @ivar kind: the way in which the end of the content is marked.
    @ivar length: bytes of content if C{kind} is L{BodyKind.LENGTH}, otherwise 0.
    """

    kind: BodyKind
    length: int = 0

    @property
    def has_body(self) -> bool:
        """Whether content may follow the head."""
        return self.kind is not _NONE


NO_BODY: Final = Framing(BodyKind.NONE)
DELIMITED: Final = Framing(BodyKind.DELIMITED)
UNTIL_CLOSE: Final = Framing(BodyKind.UNTIL_CLOSE)


# Created for each request; a frozen class with slots takes twice as long to create.
@attrs.frozen(slots=False)
class RequestHead:
    """A request line and its fields.

    @ivar method: the method as sent.
    @ivar target: the request-target as sent.
    @ivar version: the version of HTTP, for example L{HTTP_1_1}.
    @ivar headers: the fields, in the order in which they were sent.
    @ivar framing: the framing of the content.
    @ivar host: the value of the only C{Host} field, or C{None} (HTTP/1.0, and CONNECT).
    @ivar keep_alive: whether the client lets the connection persist (RFC 9112 section 9.3).
    @ivar connection_options: the field names that C{Connection} lists.
    @ivar upgrade: the values of C{Upgrade}, joined by commas, if C{Connection} lists it.
    @ivar expects_continue: whether the client waits for a C{100 (Continue)}.
    @ivar proxy_authorization: credentials for this proxy.
    @ivar accept: the value of C{Accept}, for error responses of the proxy.
    @ivar has_connection_credentials: whether it carries credentials that an origin ties to the connection (RFC 4559).
    """

    method: str
    target: bytes
    version: bytes
    headers: Headers
    framing: Framing
    host: bytes | None
    keep_alive: bool
    connection_options: frozenset[bytes]
    upgrade: bytes | None
    expects_continue: bool
    proxy_authorization: bytes | None
    accept: bytes | None
    has_connection_credentials: bool = False


# Created for each request; a frozen class with slots takes twice as long to create.
@attrs.frozen(slots=False)
class ResponseHead:
    """A status line and its fields.

    @ivar status: the status code.
    @ivar reason: the reason phrase as sent.
    @ivar version: the version of HTTP, for example L{HTTP_1_1}.
    @ivar headers: the fields, in the order in which they were sent.
    @ivar framing: the framing of the content.
    @ivar keep_alive: whether the origin lets the connection persist.
    @ivar connection_options: the field names that C{Connection} lists.
    @ivar connection_auth: whether it requests or confirms authentication of the connection (RFC 4559).
    """

    status: int
    reason: bytes
    version: bytes
    headers: Headers
    framing: Framing
    keep_alive: bool
    connection_options: frozenset[bytes]
    connection_auth: bool = False


@attrs.frozen(slots=False)
class ForwardedHead:
    """The head of a request as the proxy sends it to an origin or an upstream proxy.

    @ivar method: the method.
    @ivar target: the request-target: a path with its query, C{*}, or a URL for an upstream proxy.
    @ivar fields: all fields, including C{Host} and the fields that frame the content.
    @ivar framing: the framing of the content.
    """

    method: str
    target: bytes
    fields: list[Header]
    framing: Framing


@attrs.frozen
class End:
    """The end of the content.

    @ivar trailers: the fields after the content that are allowed there.
    """

    trailers: Headers = ()


END: Final = End()
