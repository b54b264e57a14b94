"""The protocol of an authorization service: the interface of the codecs of all APIs."""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

import attr

from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest, Headers
from egress.model.errors import AuthorizerUnavailable


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class AuthzRequest:
    """One authorization request as an HTTP request.

    @ivar method: the method.
    @ivar url: the absolute URL; its host is always the configured one.
    @ivar fields: fields in addition to L{Codec.fields}.
    @ivar content: the content; empty if there is none.
    """

    method: Final[bytes]
    url: Final[bytes]
    fields: Final[Headers]
    content: bytes = attr.ib(repr=False)

    def __init__(self, method: bytes, url: bytes, fields: Headers, content: bytes) -> None:
        self.method = method
        self.url = url
        self.fields = fields
        self.content = content


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class AuthzResponse:
    """The HTTP response to an authorization request.

    @ivar status: the status code.
    @ivar fields: the header fields as received.
    @ivar content: the content; empty if there is none.
    """

    status: Final[int]
    fields: Final[Headers]
    content: bytes = attr.ib(repr=False)

    def __init__(self, status: int, fields: Headers, content: bytes) -> None:
        self.status = status
        self.fields = fields
        self.content = content


class Codec(Protocol):
    """One API of authorization services.

    A codec is made with the URL whose path L{endpoint_path} returned, and with the name of the authorizer for the audit
    log.

    @cvar fields: the header fields of every request.
    @cvar can_want_body: whether a response can request the content.
    @cvar can_ask_tunnels: whether a request can be about a tunnel.
    @cvar takes_token: whether the API supports a bearer token.
    """

    fields: ClassVar[Headers]
    can_want_body: ClassVar[bool]
    can_ask_tunnels: ClassVar[bool]
    takes_token: ClassVar[bool]

    def __init__(self, url: str, decided_by: str) -> None:
        """Make a codec for the service at a URL."""

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Return the path of the endpoint for the configured path.

        @raise ValueError: if the path cannot be used; the message names the fix.
        """

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """Encode an authorization request.

        @raise AuthorizerUnavailable: if the API cannot express the request, because then the decision would be about
            another request than the one to send.
        """

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        """Decode an authorization response.

        @raise AuthorizerUnavailable: if it is not a valid decision, with the reason.
        """


class JsonCodec:
    """The common base of codecs that send and receive JSON documents; see L{Codec}."""

    fields: ClassVar[Headers] = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))
    can_want_body: ClassVar[bool] = True
    can_ask_tunnels: ClassVar[bool] = True
    takes_token: ClassVar[bool] = True

    def __init__(self, url: str, decided_by: str) -> None:
        self._url = url.encode("ascii")
        self._decided_by = decided_by


def ending_in(path: str, end: str) -> str:
    """Append the suffix of an API to a path, unless the path ends with it."""
    path = path.rstrip("/")
    return path if path.endswith(end) else path + end


def invalid_response(what: str) -> AuthorizerUnavailable:
    """Make the error for a response that is not a valid decision."""
    return AuthorizerUnavailable(f"the authorization service {what}", AuthzFailure.RESPONSE)


def unsupported_request(why: str) -> AuthorizerUnavailable:
    """Make the error for a request that an API cannot express."""
    return AuthorizerUnavailable(f"the API of the authorization service cannot express {why}", AuthzFailure.REQUEST)
