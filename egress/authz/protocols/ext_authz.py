"""The HTTP check of Envoy's C{ext_authz}: requests that resemble the original one, and decisions by status code.

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

# RFC 9110 section 5.6.2, and the characters that a request-target can contain.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"/[!-~]*")
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
# A segment ".." as servers may decode it: behind a path prefix, the check would be about another path.
_LEADS_OUT: Final = re.compile(r"(?:[/\\]|%2f|%5c)(?:\.|%2e){2}(?:[/\\;]|%2f|%5c|$)", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

# Fields that belong to the check itself, and fields with which a client could impersonate the proxy.  Gateways that
# turn fields into variables cannot distinguish an underscore from a hyphen.
_RESERVED: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"trailer", b"forwarded", b"x-request-id"}
# Services of this kind prefer these fields, if present, as the URL of the request and the address of the client.
_ALSO_RESERVED: Final = frozenset({b"x-rewrite-url", b"x-real-ip"})
_RESERVED_PREFIXES: Final = (b"x-forwarded-", b"x-envoy-", b"x-egress-", b"x-original-")

_DENYING: Final = frozenset({401, 403})
_REMOVED: Final = b"x-envoy-auth-headers-to-remove"
# The prefix of a field whose value is a template.  A client cannot send a field with this prefix to the service.
_SECRET: Final = b"x-egress-secret-"


def _is_forwarded(name: bytes) -> bool:
    name = name.lower().replace(b"_", b"-")
    return name not in _RESERVED and name not in _ALSO_RESERVED and not name.startswith(_RESERVED_PREFIXES)


def _by_name(fields: Headers) -> dict[bytes, bytes]:
    """Return the fields by name in lower case, with repeated fields joined (RFC 9110 section 5.3)."""
    by_name: dict[bytes, bytes] = {}
    for raw, value in fields:
        name = raw.lower()
        by_name[name] = by_name[name] + b", " + value if name in by_name else value
    return by_name


def _list(value: str) -> list[str]:
    return [member for member in (part.strip() for part in value.split(",")) if member]


def _number(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


class ExtAuthzCodec:
    """See L{egress.authz.protocols.base.Codec}.

    @param copied: the names of the fields of a response to add to the request, in lower case.
    """

    fields: ClassVar[Headers] = ()
    can_want_body: ClassVar[bool] = False
    can_ask_tunnels: ClassVar[bool] = False
    # The Authorization field of the client's request is sent to the service.
    takes_token: ClassVar[bool] = False

    def __init__(self, url: str, decided_by: str, copied: Iterable[str] = ()) -> None:
        self._url = url.rstrip("/")
        self._prefixed = self._url.count("/") > 2
        self._decided_by = decided_by
        self._copied = frozenset(name.lower().encode("ascii") for name in copied)

    @staticmethod
    def endpoint_path(path: str) -> str:
        """Return the path unchanged: it is the prefix of the path of each request."""
        return path.rstrip("/")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        """See L{Codec.encode}.

        A tunnel has no path, and C{*} is not a path: the check of either would look like the check of another request.
        The check of a message would look like the check of the request that it belongs to.
        """
        if request.stage is not Stage.REQUEST:
            raise unsupported_request(f"a {request.stage.value}")
        target = request.path
        if not target.isascii() and not self._prefixed:
            # Behind a prefix, some servers decode letters of other scripts to dots, which could lead out of the prefix.
            target = quote(target, safe=_VISIBLE)
        if not _TARGET.fullmatch(target):
            raise unsupported_request("this request-target")
        if not _TOKEN.fullmatch(request.method):
            raise unsupported_request("this method")
        if self._prefixed and _LEADS_OUT.search(request.path.partition("?")[0]):
            raise unsupported_request("a path that leaves the path of --authz-url")
        host = request.origin.netloc.encode("ascii")
        path = target.encode("ascii")
        fields: list[Header] = [(b"Host", host)]
        fields += [header for header in request.headers if _is_forwarded(header[0])]
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

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        """See L{Codec.decode}.  The status code is the decision."""
        if response.status != 200 and response.status not in _DENYING:
            raise invalid_response(f"responded with status {response.status}")
        by_name = _by_name(response.fields)
        try:
            fields = self._to_members(by_name, response.content)
            return decision_from(response.status == 200, fields, self._decided_by, request.body_withheld)
        except InvalidResponse as error:
            raise invalid_response(f"sent an invalid response: {error}") from error

    def _to_members(self, by_name: dict[bytes, bytes], content: bytes) -> dict[str, Any]:
        """Convert the fields of a response to the members that the other APIs use."""
        fields: dict[str, Any] = {}
        kind = by_name.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if b"x-egress-reason" in by_name:
            fields["reason"] = _text(by_name[b"x-egress-reason"])
        elif kind == b"text/plain":
            fields["reason"] = _text(content)
        if b"x-egress-rule-id" in by_name:
            fields["ruleId"] = _text(by_name[b"x-egress-rule-id"])
        if b"x-egress-policy-version" in by_name:
            fields["policyVersion"] = _text(by_name[b"x-egress-policy-version"])
        for name, key in ((b"x-egress-ttl", "ttl"), (b"x-egress-stale-if-error", "staleIfError")):
            if name in by_name:
                fields[key] = _number(_text(by_name[name]))
        if b"x-egress-firm" in by_name:
            fields["firm"] = by_name[b"x-egress-firm"].strip().lower() != b"false"
        if b"x-egress-cache-key" in by_name:
            fields["cacheKey"] = _list(_text(by_name[b"x-egress-cache-key"]))
        secret = {name.removeprefix(_SECRET) for name in by_name if name.startswith(_SECRET)}
        if not secret <= self._copied:
            raise InvalidResponse("a secret field is not listed in --authz-response-headers")
        if secret:
            fields["setSecretHeaders"] = {
                name.decode("ascii"): _text(by_name[_SECRET + name]) for name in sorted(secret)
            }
        copied = self._copied & by_name.keys()
        if copied:
            fields["setHeaders"] = {name.decode("ascii"): _text(by_name[name]) for name in sorted(copied)}
        if _REMOVED in by_name:
            fields["removeHeaders"] = _list(_text(by_name[_REMOVED]))
        return fields
