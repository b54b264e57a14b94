"""The server sides of the APIs of authorization services.  Each rebuilds the request from its encoded form, and decides
by rules.

They are written from the descriptions of the APIs, not from the codecs of the proxy.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.web.resource import Resource
from twisted.web.server import Request

from egress.config.model import AuthzApi
from egress.model.authority import DEFAULT_PORTS, Authority, IPAddress, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict

Decide = Callable[[DecisionRequest], Decision]


@attrs.frozen
class Reply:
    """An HTTP response."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes = b""


def _reply(answer: Any, status: int = 200) -> Reply:
    return Reply(status, ((b"Content-Type", b"application/json"),), json.dumps(answer).encode())


def _split(url: str) -> tuple[Origin, str]:
    scheme, _, rest = url.partition("://")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    return Origin(scheme, Authority.parse(rest[:end], DEFAULT_PORTS[scheme])), rest[end:]


def _headers(members: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("latin-1"), value.encode()) for name, value in members.items())


def _addresses(members: str | None) -> tuple[IPAddress, ...] | None:
    return None if members is None else tuple(ip_address(text.strip()) for text in members.split(","))


def _body(members: Mapping[str, Any]) -> bytes | None:
    if "body" not in members:
        return None
    text: str = members["body"]
    return base64.b64decode(text) if members.get("bodyEncoding") == "base64" else text.encode()


def _request(
    method: str, origin: Origin, path: str, headers: Mapping[str, str], members: Mapping[str, Any]
) -> DecisionRequest:
    stage = Stage(members["stage"])
    if stage is Stage.REQUEST and not path:
        path = "*"
    return DecisionRequest(
        request_id=members["requestId"],
        stage=stage,
        method=method,
        origin=origin,
        path=path,
        headers=_headers(headers),
        client=ClientIdentity(members["client"]["address"], 0, members["client"].get("identity")),
        body=_body(members),
        body_truncated=members.get("bodyTruncated", False),
        body_withheld=members.get("bodyWithheld", False),
        content_length=members.get("contentLength", 0),
        addresses=tuple(map(ip_address, members["addresses"])) if "addresses" in members else None,
        addresses_withheld=members.get("addressesWithheld", False),
    )


def _extra_members(decision: Decision) -> dict[str, Any]:
    """Encode what a response contains besides the verdict."""
    terms = decision.obligations
    members: dict[str, Any] = {
        "reason": decision.reason,
        "ruleId": decision.rule_id,
        "ttl": decision.ttl,
        "staleIfError": decision.stale_if_error,
        "cacheKey": None if decision.cache_key is None else list(decision.cache_key),
        "setHeaders": {name.decode(): value.decode() for name, value in terms.set_headers} or None,
        "setSecretHeaders": {name.decode(): value.decode() for name, value in terms.secret_headers} or None,
        "removeHeaders": [name.decode() for name in terms.remove_headers] or None,
        "maxBytes": terms.max_bytes,
        "expiresIn": terms.expires_in,
        "need": {Verdict.NEED_BODY: "body", Verdict.NEED_ADDRESSES: "addresses"}.get(decision.verdict),
        "ask": True if decision.verdict is Verdict.ASK else None,
    }
    return {name: value for name, value in members.items() if value is not None}


class Postman:
    """C{POST /validate}, as for a Postman runner."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def answer(self, method: str, target: str, fields: Mapping[str, str], content: bytes) -> Reply:
        """Respond to one call.

        @param fields: by name in lower case.
        """
        if (method, target, fields.get("content-type")) != ("POST", "/validate", "application/json"):
            return Reply(404)
        members = json.loads(content)
        origin, path = _split(members["url"])
        request = _request(members["method"], origin, path, json.loads(members["headers"]), members)
        decision = self._decide(request)
        return _reply({"allowed": decision.allowed, **_extra_members(decision)}, 200 if decision.allowed else 403)


class AuthZen:
    """C{POST /access/v1/evaluation}."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def answer(self, method: str, target: str, fields: Mapping[str, str], content: bytes) -> Reply:
        """Respond to one call; see L{Postman.answer}."""
        if (method, target, fields.get("content-type")) != ("POST", "/access/v1/evaluation", "application/json"):
            return Reply(404)
        members = json.loads(content)
        subject, resource, context = members["subject"], members["resource"], members["context"]
        if not all(isinstance(entity["type"], str) and isinstance(entity["id"], str) for entity in (subject, resource)):
            return Reply(400)
        place = resource["properties"]
        origin = Origin(place["scheme"], Authority(place["host"], place["port"]))
        query = f"?{place['query']}" if "query" in place else ""
        path = place["path"] + query
        decision = self._decide(_request(members["action"]["name"], origin, path, context["headers"], context))
        reply = _reply({"decision": decision.allowed, "context": _extra_members(decision)})
        return attrs.evolve(reply, fields=(*reply.fields, (b"X-Request-ID", fields["x-request-id"].encode())))


class Opa:
    """C{POST /v1/data/egress/decision}, where C{data.egress.decision} is an object."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def answer(self, method: str, target: str, fields: Mapping[str, str], content: bytes) -> Reply:
        """Respond to one call; see L{Postman.answer}."""
        if method != "POST" or not target.startswith("/v1/data/"):
            return Reply(404)
        if target != "/v1/data/egress/decision":
            return _reply({"decision_id": "4ca636c1"})
        members = json.loads(content)["input"]
        origin = Origin(members["scheme"], Authority(members["host"], members["port"]))
        query = f"?{members['query']}" if "query" in members else ""
        decision = self._decide(
            _request(members["method"], origin, members["path"] + query, members["headers"], members)
        )
        return _reply({"result": {"allow": decision.allowed, **_extra_members(decision)}, "decision_id": "4ca636c1"})


class ExtAuthz:
    """The checks of C{ext_authz}, behind C{/check}."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def answer(self, method: str, target: str, fields: Mapping[str, str], content: bytes) -> Reply:
        """Respond to one call; see L{Postman.answer}."""
        if not target.startswith("/check/"):
            return Reply(404)
        scheme = fields["x-forwarded-proto"]
        origin = Origin(scheme, Authority.parse(fields["host"], DEFAULT_PORTS[scheme]))
        partial = fields.get("x-envoy-auth-partial-body") == "true"
        own = ("host", "x-forwarded-", "x-request-id", "x-envoy-", "x-egress-", "content-length", "accept-encoding")
        decision = self._decide(
            DecisionRequest(
                request_id=fields["x-request-id"],
                stage=Stage.REQUEST,
                method=method,
                origin=origin,
                path=target.removeprefix("/check"),
                headers=_headers({name: value for name, value in fields.items() if not name.startswith(own)}),
                client=ClientIdentity(fields["x-forwarded-for"], 0, fields.get("x-egress-identity")),
                body=content or None,
                body_truncated=partial and bool(content),
                body_withheld=partial and not content,
                addresses=_addresses(fields.get("x-egress-addresses")),
            )
        )
        named = [(b"Content-Type", b"text/plain")]
        if decision.rule_id is not None:
            named.append((b"X-Egress-Rule-Id", decision.rule_id.encode()))
        if decision.ttl is not None:
            named.append((b"X-Egress-Ttl", b"%d" % decision.ttl))
        return Reply(
            200 if decision.allowed else 403, tuple(named), b"" if method == "HEAD" else decision.reason.encode()
        )


DECIDERS: dict[AuthzApi, Any] = {
    AuthzApi.POSTMAN: Postman,
    AuthzApi.AUTHZEN: AuthZen,
    AuthzApi.OPA: Opa,
    AuthzApi.EXT_AUTHZ: ExtAuthz,
}
"""The server side of each API."""

PATHS = {
    AuthzApi.POSTMAN: "",
    AuthzApi.AUTHZEN: "",
    AuthzApi.OPA: "/v1/data/egress/decision",
    AuthzApi.EXT_AUTHZ: "/check",
}
"""The path in C{--authz-url} for each API."""


class DeciderResource(Resource):
    """An API as a web resource, for tests with real sockets."""

    isLeaf = True

    def __init__(self, decider: Postman | AuthZen | Opa | ExtAuthz) -> None:
        super().__init__()
        self._decider = decider

    def render(self, request: Request) -> bytes:
        fields = {
            name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        content = request.content
        assert content is not None
        reply = self._decider.answer(request.method.decode(), request.uri.decode(), fields, content.read())
        request.setResponseCode(reply.status)
        for name, value in reply.fields:
            request.responseHeaders.addRawHeader(name, value)
        return reply.content
