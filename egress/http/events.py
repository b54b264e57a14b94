"""The events of a request or response, independent of the HTTP version that carries it."""

from __future__ import annotations

import enum
from typing import Final

import attr

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


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class Framing:
    """The framing of a message's content.

    @ivar kind: the way in which the end of the content is marked.
    @ivar length: bytes of content if C{kind} is L{BodyKind.LENGTH}, otherwise 0.
    """

    kind: Final[BodyKind]
    length: Final[int]

    def __init__(self, kind: BodyKind, length: int = 0) -> None:
        self.kind = kind
        self.length = length

    @property
    def has_body(self) -> bool:
        """Whether content may follow the head."""
        return self.kind is not _NONE


NO_BODY: Final = Framing(BodyKind.NONE)
DELIMITED: Final = Framing(BodyKind.DELIMITED)
UNTIL_CLOSE: Final = Framing(BodyKind.UNTIL_CLOSE)


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
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

    method: Final[str]
    target: Final[bytes]
    version: Final[bytes]
    headers: Final[Headers]
    framing: Final[Framing]
    host: Final[bytes | None]
    keep_alive: Final[bool]
    connection_options: Final[frozenset[bytes]]
    upgrade: Final[bytes | None]
    expects_continue: Final[bool]
    proxy_authorization: Final[bytes | None]
    accept: Final[bytes | None]
    has_connection_credentials: Final[bool]

    def __init__(
        self,
        method: str,
        target: bytes,
        version: bytes,
        headers: Headers,
        framing: Framing,
        host: bytes | None,
        keep_alive: bool,
        connection_options: frozenset[bytes],
        upgrade: bytes | None,
        expects_continue: bool,
        proxy_authorization: bytes | None,
        accept: bytes | None,
        has_connection_credentials: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.framing = framing
        self.host = host
        self.keep_alive = keep_alive
        self.connection_options = connection_options
        self.upgrade = upgrade
        self.expects_continue = expects_continue
        self.proxy_authorization = proxy_authorization
        self.accept = accept
        self.has_connection_credentials = has_connection_credentials


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
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

    status: Final[int]
    reason: Final[bytes]
    version: Final[bytes]
    headers: Final[Headers]
    framing: Final[Framing]
    keep_alive: Final[bool]
    connection_options: Final[frozenset[bytes]]
    connection_auth: Final[bool]

    def __init__(
        self,
        status: int,
        reason: bytes,
        version: bytes,
        headers: Headers,
        framing: Framing,
        keep_alive: bool,
        connection_options: frozenset[bytes],
        connection_auth: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        self.framing = framing
        self.keep_alive = keep_alive
        self.connection_options = connection_options
        self.connection_auth = connection_auth


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class ForwardedHead:
    """The head of a request as the proxy sends it to an origin or an upstream proxy.

    @ivar method: the method.
    @ivar target: the request-target: a path with its query, C{*}, or a URL for an upstream proxy.
    @ivar fields: all fields, including C{Host} and the fields that frame the content.
    @ivar framing: the framing of the content.
    @ivar encoded: the encoding in HTTP/1.1, if it was made in advance.
    """

    method: Final[str]
    target: Final[bytes]
    fields: Final[list[Header]]
    framing: Final[Framing]
    encoded: bytes | None = attr.ib(init=False, eq=False, repr=False)

    def __init__(self, method: str, target: bytes, fields: list[Header], framing: Framing) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.framing = framing
        self.encoded = None


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class End:
    """The end of the content.

    @ivar trailers: the fields after the content that are allowed there.
    """

    trailers: Final[Headers]

    def __init__(self, trailers: Headers = ()) -> None:
        self.trailers = trailers


END: Final = End()
