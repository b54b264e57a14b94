"""The Access Evaluation API of AuthZEN: a question to bytes, an answer to a decision.

Source: OpenID AuthZEN, Authorization API 1.0, sections 5 and 6 (information model, evaluation) and 10 (transport).
"""

from __future__ import annotations

from typing import Any, ClassVar

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, ending_in, invalid_response
from egress.authz.protocols.request_json import add_content, add_context, destination, encoded, joined
from egress.authz.protocols.response_json import InvalidResponse, decision_from, parse_object
from egress.model.decision import Decision, DecisionRequest, Headers


def _subject(request: DecisionRequest) -> dict[str, Any]:
    client = request.client
    # Two types: a client may have a name that looks like another's address.
    if client.identity is None:
        return {"type": "address", "id": client.address}
    return {"type": "client", "id": client.identity, "properties": {"address": client.address}}


def _user_reason(context: dict[str, Any]) -> object:
    """The reason that the standard's examples have for users: a text, or texts by language."""
    reason = context.get("reason_user")
    if isinstance(reason, dict):
        return next((text for text in reason.values() if isinstance(text, str)), None)
    return reason


class AuthZenCodec:
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
        """Append C{/access/v1/evaluation}, unless the path ends so."""
        return ending_in(path, "/access/v1/evaluation")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}."""
        context: dict[str, Any] = {"headers": joined(request.headers)}
        add_content(context, request)
        add_context(context, request)
        question = {
            "subject": _subject(request),
            "action": {"name": request.method},
            "resource": {"type": "url", "id": request.url, "properties": destination(request)},
            "context": context,
        }
        fields = ((b"X-Request-Id", request.request_id.encode("latin-1", "replace")),)
        return AuthzRequest(b"POST", self._url, fields, encoded(question))

    def decode(self, answer: AuthzResponse, asked: DecisionRequest) -> Decision:
        """See L{Codec.decode}; a denial is a 200, and every other status is about the call itself."""
        if answer.status != 200:
            raise invalid_response(f"answered with status {answer.status}")
        try:
            members = parse_object(answer.content)
            context = members.get("context", {})
            if type(members.get("decision")) is not bool:
                raise InvalidResponse("has no 'decision' that is a boolean")
            if not isinstance(context, dict):
                raise InvalidResponse("has a 'context' that is no object")
            if "reason" not in context and "reason_user" in context:
                context["reason"] = _user_reason(context)
            return decision_from(
                members["decision"], context, self._decided_by, asked.body_withheld, asked.addresses_withheld
            )
        except InvalidResponse as error:
            raise invalid_response(f"gave an answer that {error}") from error
