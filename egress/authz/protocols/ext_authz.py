"""The HTTP check of Envoy's C{ext_authz}: a question to a request like the one it is about, a status to a decision.

Source: Envoy's documentation of the filter C{envoy.filters.http.ext_authz} and of its C{HttpService}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final
from urllib.parse import quote

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, invalid_response, unsupported_request
from egress.authz.protocols.response_json import InvalidResponse, decision_from
from egress.http.hop_by_hop import HOP_BY_HOP
from egress.model.decision import Decision, DecisionRequest, Header, Headers, Stage

# RFC 9110 section 5.6.2, and what may stand in a request-target.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"/[!-~]*")
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
# A segment ".." as servers may read it: behind a prefix, it would be the check of something else.
_LEADS_OUT: Final = re.compile(r"(?:[/\\]|%2f|%5c)(?:\.|%2e){2}(?:[/\\;]|%2f|%5c|$)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

# What is the check's own, and what a client could pretend to say in our name.  Gateways that make variables of fields
# cannot tell an underscore from a hyphen.
_OURS: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"trailer", b"forwarded", b"x-request-id"}
# Services of this kind take these, where they are there, for what is asked about, and for who asks, before any other.
_OURS_ELSEWHERE: Final = frozenset({b"x-rewrite-url", b"x-real-ip"})
_OUR_PREFIXES: Final = (b"x-forwarded-", b"x-envoy-", b"x-egress-", b"x-original-")

_DENYING: Final = frozenset({401, 403})
_REMOVED: Final = b"x-envoy-auth-headers-to-remove"
# Before the name of a field whose value is a template; clients can send no field of this name to the service.
_SECRET: Final = b"x-egress-secret-"


def _theirs(name: bytes) -> bool:
    name = name.lower().replace(b"_", b"-")
    return name not in _OURS and name not in _OURS_ELSEWHERE and not name.startswith(_OUR_PREFIXES)


def _named(fields: Headers) -> dict[bytes, bytes]:
    """The fields by name in lower case, repeated ones joined (RFC 9110 section 5.3)."""
    named: dict[bytes, bytes] = {}
    for raw, value in fields:
        name = raw.lower()
        named[name] = named[name] + b", " + value if name in named else value
    return named


def _list(value: str) -> list[str]:
    return [member for member in (part.strip() for part in value.split(",")) if member]


def _number(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class ExtAuthzCodec:
    """See L{egress.authz.protocols.base.Codec}.

    @param taken: the names of the fields of an answer that are added to the request, in lower case.
    """

    fields: ClassVar[Headers] = ()
    can_want_body: ClassVar[bool] = False
    can_ask_tunnels: ClassVar[bool] = False
    # The request's own Authorization goes to the service.
    takes_token: ClassVar[bool] = False

    def __init__(self, url: str, decided_by: str, taken: Iterable[str] = ()) -> None:
        self._url = url.rstrip("/")
        self._prefixed = self._url.count("/") > 2
        self._decided_by = decided_by
        self._taken = frozenset(name.lower().encode("ascii") for name in taken)

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Take the path as it is: it stands before that of each request."""
        return path.rstrip("/")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}.

        A tunnel has no path, and C{*} is none: the check of either would look like that of another request.
        """
        if request.stage is Stage.TUNNEL:
            raise unsupported_request("a tunnel to open")
        target = request.path
        if not target.isascii() and not self._prefixed:
            # Behind a prefix, some servers read letters of other scripts as the dots that lead out of it.
            target = quote(target, safe=_VISIBLE)
        if not _TARGET.fullmatch(target):
            raise unsupported_request("a request-target")
        if not _TOKEN.fullmatch(request.method):
            raise unsupported_request("a method")
        if self._prefixed and _LEADS_OUT.search(request.path.partition("?")[0]):
            raise unsupported_request("a path that leads out of the one of the checks")
        host = request.origin.netloc.encode("ascii")
        path = target.encode("ascii")
        fields: list[Header] = [(b"Host", host)]
        fields += [header for header in request.headers if _theirs(header[0])]
        fields += [
            (b"X-Request-Id", request.request_id.encode("latin-1", "replace")),
            (b"X-Forwarded-Proto", request.origin.scheme.encode("ascii")),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Uri", path),
            (b"X-Forwarded-Method", request.method.encode("ascii")),
            (b"X-Forwarded-For", request.client.address.encode("ascii", "replace")),
        ]
        if request.client.identity is not None:
            fields.append((b"X-Egress-Identity", request.client.identity.encode("utf-8", "replace")))
        if request.addresses:
            addresses = ", ".join(map(str, request.addresses))
            fields.append((b"X-Egress-Addresses", addresses.encode("ascii")))
        if request.body or request.body_withheld:
            partial = request.body_truncated or request.body_withheld
            fields.append((b"X-Envoy-Auth-Partial-Body", b"true" if partial else b"false"))
        url = self._url.encode("ascii") + path
        return AuthzRequest(request.method.encode("ascii"), url, tuple(fields), request.body or b"")

    def decode(self, answer: AuthzResponse, asked: DecisionRequest) -> Decision:
        """See L{Codec.decode}; the status decides."""
        if answer.status != 200 and answer.status not in _DENYING:
            raise invalid_response(f"answered with status {answer.status}")
        named = _named(answer.fields)
        try:
            fields = self._described(named, answer.content)
            return decision_from(answer.status == 200, fields, self._decided_by, asked.body_withheld)
        except InvalidResponse as error:
            raise invalid_response(f"gave an answer that {error}") from error

    def _described(self, named: dict[bytes, bytes], content: bytes) -> dict[str, Any]:
        """Say in the words of the other APIs what the answer says in its fields."""
        fields: dict[str, Any] = {}
        kind = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if b"x-egress-reason" in named:
            fields["reason"] = _text(named[b"x-egress-reason"])
        elif kind == b"text/plain":
            fields["reason"] = _text(content)
        if b"x-egress-rule-id" in named:
            fields["ruleId"] = _text(named[b"x-egress-rule-id"])
        for name, key in ((b"x-egress-ttl", "ttl"), (b"x-egress-stale-if-error", "staleIfError")):
            if name in named:
                fields[key] = _number(_text(named[name]))
        if b"x-egress-firm" in named:
            fields["firm"] = named[b"x-egress-firm"].strip().lower() != b"false"
        if b"x-egress-cache-key" in named:
            fields["cacheKey"] = _list(_text(named[b"x-egress-cache-key"]))
        secret = {name.removeprefix(_SECRET) for name in named if name.startswith(_SECRET)}
        if not secret <= self._taken:
            raise InvalidResponse("sets a field to a secret that --authz-response-headers does not have")
        if secret:
            fields["setSecretHeaders"] = {name.decode("ascii"): _text(named[_SECRET + name]) for name in sorted(secret)}
        taken = self._taken & named.keys()
        if taken:
            fields["setHeaders"] = {name.decode("ascii"): _text(named[name]) for name in sorted(taken)}
        if _REMOVED in named:
            fields["removeHeaders"] = _list(_text(named[_REMOVED]))
        return fields
