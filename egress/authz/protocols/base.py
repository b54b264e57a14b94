"""How an authorization service is asked: what differs between one API and another, and nothing else."""

from __future__ import annotations

from typing import ClassVar, Protocol

import attrs

from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest, Headers
from egress.model.errors import AuthorizerUnavailable


@attrs.frozen
class AuthzRequest:
    """One question as an HTTP request.

    @ivar url: the absolute URL; its host is always the configured one.
    @ivar fields: those beside L{Codec.fields}.
    """

    method: bytes
    url: bytes
    fields: Headers
    content: bytes = attrs.field(repr=False)


@attrs.frozen
class AuthzResponse:
    """The HTTP response to one."""

    status: int
    fields: Headers
    content: bytes = attrs.field(repr=False)


class Codec(Protocol):
    """One API of authorization services.

    It is made with the URL that L{at} led to, and with who decides, for the audit log.

    @cvar fields: the header fields that every question has.
    @cvar can_want_body: whether an answer can say that the content is wanted first.
    @cvar can_ask_tunnels: whether a question can be about a tunnel.
    @cvar takes_token: whether there is room for a bearer token.
    """

    fields: ClassVar[Headers]
    can_want_body: ClassVar[bool]
    can_ask_tunnels: ClassVar[bool]
    takes_token: ClassVar[bool]

    def __init__(self, url: str, decided_by: str) -> None:
        """Speak to the service at a URL."""

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Give the path to ask, from the one that was configured.

        @raise ValueError: saying what to give instead.
        """

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """Write a question.

        @raise AuthorizerUnavailable: for one that the API cannot express: something else would be decided on than what
            is sent.
        """

    def decode(self, answer: AuthzResponse, asked: DecisionRequest) -> Decision:
        """Read an answer.

        @raise AuthorizerUnavailable: when it is no decision, saying what was wrong.
        """


def ending_in(path: str, end: str) -> str:
    """Append to a path what an API has at its end, unless it is there."""
    path = path.rstrip("/")
    return path if path.endswith(end) else path + end


def invalid_response(what: str) -> AuthorizerUnavailable:
    """What is raised for an answer that is no decision."""
    return AuthorizerUnavailable(f"the authorization service {what}", AuthzFailure.ANSWER)


def unsupported_request(why: str) -> AuthorizerUnavailable:
    """What is raised for a question that an API cannot express."""
    return AuthorizerUnavailable(
        f"the request has {why} that cannot be put to an authorization service", AuthzFailure.QUESTION
    )
