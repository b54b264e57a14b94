"""The Access Evaluation API of AuthZEN: the encoding of requests and the decoding of responses.

Source: OpenID AuthZEN, Authorization API 1.0, sections 5 and 6 (information model, evaluation) and 10 (transport).
"""

from __future__ import annotations

from typing import Any

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, JsonCodec, ending_in, invalid_response
from egress.authz.protocols.request_json import add_content, add_context, destination, encoded, joined
from egress.authz.protocols.response_json import InvalidResponse, decision_from, parse_object
from egress.model.decision import Decision, DecisionRequest


def _subject(request: DecisionRequest) -> dict[str, Any]:
    client = request.client
    # Two types are needed: the name of a client may look like the address of another.
    if client.identity is None:
        return {"type": "address", "id": client.address}
    return {"type": "client", "id": client.identity, "properties": {"address": client.address}}


def _user_reason(context: dict[str, Any]) -> object:
    """Return the reason for users, as in the examples of the standard: a text, or texts by language."""
    reason = context.get("reason_user")
    if isinstance(reason, dict):
        return next((text for text in reason.values() if isinstance(text, str)), None)
    return reason


class AuthZenCodec(JsonCodec):
    """See L{egress.authz.protocols.base.Codec}."""

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Append C{/access/v1/evaluation}, unless the path ends with it."""
        return ending_in(path, "/access/v1/evaluation")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}."""
        context: dict[str, Any] = {"headers": joined(request.headers)}
        add_content(context, request)
        add_context(context, request)
        document = {
            "subject": _subject(request),
            "action": {"name": request.method},
            "resource": {"type": "url", "id": request.url, "properties": destination(request)},
            "context": context,
        }
        fields = ((b"X-Request-Id", request.request_id.encode("latin-1", "replace")),)
        return AuthzRequest(b"POST", self._url, fields, encoded(document))

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        """See L{Codec.decode}.  A denial has status 200; every other status is an error of the call."""
        if response.status != 200:
            raise invalid_response(f"responded with status {response.status}")
        try:
            members = parse_object(response.content)
            context = members.get("context", {})
            if type(members.get("decision")) is not bool:
                raise InvalidResponse("'decision' is missing or not a boolean")
            if not isinstance(context, dict):
                raise InvalidResponse("'context' is not an object")
            if "reason" not in context and "reason_user" in context:
                context["reason"] = _user_reason(context)
            return decision_from(
                members["decision"], context, self._decided_by, request.body_withheld, request.addresses_withheld
            )
        except InvalidResponse as error:
            raise invalid_response(f"sent an invalid response: {error}") from error
