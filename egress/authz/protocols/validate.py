"""The C{/validate} contract: a question to bytes, an answer to a decision.

Source: the authorization contract of the Postman runner's built-in proxy, and what this project decides where that is
silent (C{docs/reference/authorization.md}).
"""

from __future__ import annotations

from typing import Any, ClassVar

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, ending_in, invalid_response
from egress.authz.protocols.request_json import add_content, add_context, encoded, joined, to_json
from egress.authz.protocols.response_json import InvalidResponse, decision_from, parse_object
from egress.model.decision import Decision, DecisionRequest, Headers


def headers_value(headers: Headers) -> str:
    """The field C{headers}: JSON in a string, lower-case names, repeated fields joined."""
    return to_json(joined(headers))


def encode_request(request: DecisionRequest) -> bytes:
    """Serialize a question; every documented field is a string.

    @raise AuthorizerUnavailable: when it has text that cannot be encoded: something else would be decided on than what
        is sent.
    """
    question: dict[str, Any] = {
        "url": request.url,
        "method": request.method,
        "headers": headers_value(request.headers),
    }
    query = request.query
    if query:
        question["queryParams"] = query
    add_content(question, request)
    add_context(question, request)
    return encoded(question)


def decode_response(
    status: int, body: bytes, decided_by: str, withheld: bool = False, unresolved: bool = False
) -> Decision:
    """Read an answer.

    Only a 200 whose C{allowed} is exactly C{true} allows; C{allowed: false} denies under any status.

    @param withheld: whether the question said C{bodyWithheld}: only then may the answer be C{need: "body"}.
    @param unresolved: the same of C{addressesWithheld} and C{need: "addresses"}.
    @raise AuthorizerUnavailable: for everything else, saying what was wrong.
    """
    try:
        answer = parse_object(body)
    except InvalidResponse as error:
        what = f"answered with status {status}" if status != 200 else f"gave an answer that {error}"
        raise invalid_response(what) from error
    allowed = answer.get("allowed")
    if allowed is not False and status != 200:
        raise invalid_response(f"answered with status {status}")
    if type(allowed) is not bool and "allowed" in answer:
        raise invalid_response("gave an answer that has an 'allowed' that is no boolean")
    try:
        return decision_from(allowed, answer, decided_by, withheld, unresolved)
    except InvalidResponse as error:
        raise invalid_response(f"gave an answer that {error}") from error


class ValidateCodec:
    """See L{egress.authz.protocols.base.Codec}."""

    fields: ClassVar[Headers] = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))
    can_want_body: ClassVar[bool] = True
    can_ask_tunnels: ClassVar[bool] = True
    takes_token: ClassVar[bool] = True

    def __init__(self, url: str, decided_by: str) -> None:
        self._url = url.encode("ascii")
        self._decided_by = decided_by

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Append C{/validate}, unless the path ends so."""
        return ending_in(path, "/validate")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}."""
        return AuthzRequest(b"POST", self._url, (), encode_request(request))

    def decode(self, answer: AuthzResponse, asked: DecisionRequest) -> Decision:
        """See L{Codec.decode}."""
        return decode_response(
            answer.status, answer.content, self._decided_by, asked.body_withheld, asked.addresses_withheld
        )
