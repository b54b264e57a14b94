"""The C{/validate} contract: the encoding of requests and the decoding of responses.

Source: the authorization contract of the Postman runner's built-in proxy, and the decisions of this project where the
contract is silent (C{docs/reference/authorization.md}).
"""

from __future__ import annotations

from typing import Any, Final

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, JsonCodec, ending_in, invalid_response
from egress.authz.protocols.request_json import add_content, add_details, in_utf8, joined, quoted, to_json
from egress.authz.protocols.response_json import InvalidResponse, decision_from, parse_object
from egress.model.decision import Decision, DecisionRequest, Headers, Stage

# CPython calls a function of the enum module for the value of a member.
_STAGES: Final = {stage: stage.value for stage in Stage}


def headers_value(headers: Headers) -> str:
    """Return the member C{headers}: JSON in a string, with names in lower case and repeated fields joined."""
    return to_json(joined(headers))


class LastHeaders:
    """Serializes the member C{headers}, and remembers the last one: a client often repeats the fields of a request."""

    __slots__ = ("_headers", "_json")

    def __init__(self) -> None:
        self._headers: Headers = ()
        self._json = ""

    def json(self, headers: Headers) -> str:
        """Return the JSON string."""
        if headers != self._headers or not self._json:
            self._json = quoted(headers_value(headers))
            self._headers = headers
        return self._json


def encode_request(request: DecisionRequest, last: LastHeaders | None = None) -> bytes:
    """Serialize an authorization request.  Every documented member is a string.

    @param request: the request.
    @param last: serializes the fields.
    @raise AuthorizerUnavailable: if it contains text that cannot be encoded, because then the decision would be about
        another request than the one to send.
    """
    headers, client, query = (last or LastHeaders()).json(request.headers), request.client, request.query
    # The members of most requests, without a dictionary for them.
    text = f'{{"url":{quoted(request.url)},"method":{quoted(request.method)},"headers":{headers}'
    if query:
        text += f',"queryParams":{quoted(query)}'
    content: dict[str, Any] = {}
    add_content(content, request)
    text += _following(content)
    text += f',"requestId":{quoted(request.request_id)},"client":{{"address":{quoted(client.address)}'
    if client.identity is not None:
        text += f',"identity":{quoted(client.identity)}'
    details: dict[str, Any] = {}
    add_details(details, request)
    return in_utf8(f'{text}}},"stage":"{_STAGES[request.stage]}"{_following(details)}}}')


def _following(members: dict[str, Any]) -> str:
    """Serialize members that follow others."""
    return f",{to_json(members)[1:-1]}" if members else ""


def decode_response(
    status: int, body: bytes, decided_by: str, withheld: bool = False, unresolved: bool = False
) -> Decision:
    """Decode an authorization response.

    Only a 200 whose C{allowed} is exactly C{true} allows; C{allowed: false} denies under any status.

    @param status: the status code.
    @param body: the content.
    @param decided_by: the name of the authorizer, for the decision.
    @param withheld: whether the request contained C{bodyWithheld}: only then may the response contain C{need: "body"}.
    @param unresolved: the same for C{addressesWithheld} and C{need: "addresses"}.
    @raise AuthorizerUnavailable: for any other response, with the reason.
    """
    try:
        response = parse_object(body)
    except InvalidResponse as error:
        what = f"responded with status {status}" if status != 200 else f"sent an invalid response: {error}"
        raise invalid_response(what) from error
    allowed = response.get("allowed")
    if allowed is not False and status != 200:
        raise invalid_response(f"responded with status {status}")
    if type(allowed) is not bool and "allowed" in response:
        raise invalid_response("sent an invalid response: 'allowed' is not a boolean")
    try:
        return decision_from(allowed, response, decided_by, withheld, unresolved)
    except InvalidResponse as error:
        raise invalid_response(f"sent an invalid response: {error}") from error


class ValidateCodec(JsonCodec):
    """See L{egress.authz.protocols.base.Codec}."""

    def __init__(self, url: str, decided_by: str) -> None:
        super().__init__(url, decided_by)
        self._last = LastHeaders()

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Append C{/validate}, unless the path ends with it."""
        return ending_in(path, "/validate")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}."""
        return AuthzRequest(b"POST", self._url, (), encode_request(request, self._last))

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        """See L{Codec.decode}."""
        return decode_response(
            response.status, response.content, self._decided_by, request.body_withheld, request.addresses_withheld
        )
