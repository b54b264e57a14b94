"""The data API of Open Policy Agent: the encoding of requests and the decoding of responses.

Source: OPA's documentation of its REST API, "Get a Document (with Input)".
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, JsonCodec, invalid_response
from egress.authz.protocols.request_json import add_content, add_context, destination, encoded, joined
from egress.authz.protocols.response_json import MAX_REASON, InvalidResponse, decision_from, parse_object, printable
from egress.model.decision import Decision, DecisionRequest

_RULE: Final = re.compile(r".*/v1/data(/[^/]+)+")
_YES: Final = ("allow", "allowed")


def _allowed(result: dict[str, Any]) -> bool | None:
    """Read C{allow} or C{allowed}.  If both are present and differ, the result is not a decision."""
    values = {name: result[name] for name in _YES if name in result}
    for name, value in values.items():
        if type(value) is not bool:
            raise InvalidResponse(f"'{name}' is not a boolean")
    if len(set(values.values())) > 1:
        raise InvalidResponse("'allow' and 'allowed' contradict each other")
    return next(iter(values.values()), None)


class OpaCodec(JsonCodec):
    """See L{egress.authz.protocols.base.Codec}."""

    def __init__(self, url: str, decided_by: str) -> None:
        super().__init__(url, decided_by)
        self._rule = "data/" + url.partition("/v1/data/")[2]

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Return the path unchanged: it names the rule."""
        path = path.rstrip("/")
        if not _RULE.fullmatch(path):
            raise ValueError("name the rule that decides, as in http://127.0.0.1:8181/v1/data/egress/decision")
        return path

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}."""
        document: dict[str, Any] = {"url": request.url, "method": request.method, **destination(request)}
        document["headers"] = joined(request.headers)
        add_content(document, request)
        add_context(document, request)
        return AuthzRequest(b"POST", self._url, (), encoded({"input": document}))

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        """See L{Codec.decode}.  OPA omits an undefined result from its response."""
        if response.status != 200:
            raise invalid_response(f"responded with status {response.status}")
        try:
            members = parse_object(response.content)
            if "result" not in members:
                rule = self._rule.replace("/", ".")
                raise InvalidResponse(
                    f"'result' is missing: {rule} is undefined for this request, or for all; define a default value"
                )
            result = members["result"]
            fields = result if isinstance(result, dict) else {}
            if type(result) is not bool and not isinstance(result, dict):
                raise InvalidResponse("'result' is neither a boolean nor an object")
            allowed = _allowed(fields) if isinstance(result, dict) else result
            decision = decision_from(
                allowed, fields, self._decided_by, request.body_withheld, request.addresses_withheld
            )
        except InvalidResponse as error:
            raise invalid_response(f"sent an invalid response: {error}") from error
        return self._with_decision_id(decision, printable(members.get("decision_id")))

    @staticmethod
    def _with_decision_id(decision: Decision, decision_id: str | None) -> Decision:
        """Add the id of the decision in OPA's own decision log."""
        if decision_id is None:
            return decision
        suffix = f" (OPA decision {decision_id[:64]})"
        reason = decision.reason[: MAX_REASON - len(suffix)] + suffix
        return attrs.evolve(decision, reason=reason)
