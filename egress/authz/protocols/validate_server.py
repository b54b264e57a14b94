"""The server side of the C{/validate} contract: the decoding of requests and the encoding of responses.

This module is the counterpart of L{egress.authz.protocols.validate}.  It rejects a request that is ambiguous or
contradicts itself: the decision must be about the request that the proxy sends.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

from egress.authz.protocols.strict_json import InvalidJson, parse_members
from egress.authz.protocols.validate import headers_value
from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.model.authority import DEFAULT_PORTS, IPAddress, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Headers, Stage, Verdict
from egress.model.errors import InvalidTarget
from egress.model.message import Direction, Message, MessageKind, MessageObligation

_E = TypeVar("_E", bound=enum.Enum)

UNKNOWN_CLIENT: Final = "unknown"
"""The address of an unknown client, as in L{egress.proxy.tunnel_binding}.  It is in no address range."""
# The address of a client behind a UNIX socket, as in the same module.
_UNIX_CLIENT: Final = re.compile(r"unix-uid-[0-9]{1,10}")

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_METHOD: Final = 64
_ID: Final = re.compile(r"[!-~]{1,128}")
_MAX_IDENTITY: Final = 512
# The proxy sends every address of a name, and accepts no more than this from a resolver.
_MAX_ADDRESSES: Final = 256
# Field values cannot contain these (RFC 9110 section 5.5).
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00\r\n]")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LENGTH: Final = 2**63

# Made once: json.dumps makes one for each call.
_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode


_NEED: Final = {Verdict.NEED_BODY: "body", Verdict.NEED_ADDRESSES: "addresses"}


class InvalidRequest(ValueError):
    """The content is not a valid authorization request.

    @ivar reason: the problem, in one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _has_type(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


class _RequestMembers:
    """The members of an authorization request, with checks of their types."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str | None:
        """Return a string, or C{None} if the member is absent."""
        value = self._get(name, str, "a string")
        if value is None:
            return None
        _encode_text(name, value)
        return str(value)

    def required(self, name: str) -> str:
        """Return a string that is required."""
        value = self.text(name)
        if not value:
            raise InvalidRequest(f"'{name}' is missing")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; an absent member is false."""
        return bool(self._get(name, bool, "a boolean"))

    def number(self, name: str) -> int | None:
        """Return a whole number that is not negative."""
        value = self._get(name, int, "an integer")
        if value is not None and not 0 <= value < _MAX_LENGTH:
            raise InvalidRequest(f"'{name}' is out of range")
        return None if value is None else int(value)

    def has(self, name: str) -> bool:
        """Return whether a member is present."""
        return self._members.get(name) is not None

    def members(self, name: str) -> _RequestMembers:
        """Return an object."""
        return _RequestMembers(self._get(name, dict, "an object") or {})

    def texts(self, name: str) -> list[str] | None:
        """Return a list of strings."""
        value = self._get(name, list, "a list")
        if value is not None and not all(isinstance(each, str) for each in value):
            raise InvalidRequest(f"'{name}' is not a list of strings")
        return None if value is None else list(value)

    def text_or_object(self, name: str) -> str | dict[str, Any] | None:
        """Return a string or an object."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, (str, dict)):
            raise InvalidRequest(f"'{name}' is neither a string nor an object")
        return value

    def _get(self, name: str, kind: type, what: str) -> Any:
        # Some callers write null for an absent member.
        value = self._members.get(name)
        if value is not None and not _has_type(value, kind):
            raise InvalidRequest(f"'{name}' is not {what}")
        return value


def _encode_text(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"'{name}' contains an unpaired surrogate") from error


def decode_request(content: bytes, request_id: str) -> DecisionRequest:
    """Decode an authorization request.

    @param content: JSON in UTF-8.
    @param request_id: the id of a request that contains none.
    @raise InvalidRequest: with the reason.
    """
    try:
        members = _RequestMembers(parse_members(content))
    except InvalidJson as error:
        raise InvalidRequest(f"invalid authorization request: {error}") from error
    url, method = members.required("url"), members.required("method")
    stage = _stage(members.text("stage"), method)
    target = _target(url, method, stage)
    assert target.scheme is not None
    assert target.authority is not None
    _check_query(target.path, members.text("queryParams"))
    body = _body(members)
    truncated, withheld = members.flag("bodyTruncated"), members.flag("bodyWithheld")
    message = _message(members, stage, truncated=truncated, withheld=withheld)
    return DecisionRequest(
        request_id=_id(members.text("requestId"), request_id),
        stage=stage,
        method=method,
        origin=Origin.of(target.scheme, target.authority),
        path=target.path,
        headers=_headers(members.text_or_object("headers")),
        client=_client(members.members("client")),
        body=b"" if message is not None and body is None else body,
        body_truncated=truncated,
        body_withheld=withheld,
        content_length=_length(members.number("contentLength"), body, truncated, withheld),
        addresses=_addresses(members.texts("addresses")),
        addresses_withheld=_withheld(members, target),
        message=message,
    )


def _stage(given: str | None, method: str) -> Stage:
    if not _TOKEN.fullmatch(method) or len(method) > _MAX_METHOD:
        raise InvalidRequest("'method' is not a valid method name")
    tunnel = method == "CONNECT"
    try:
        stage = (Stage.TUNNEL if tunnel else Stage.REQUEST) if given is None else Stage(given)
    except ValueError as error:
        raise InvalidRequest("'stage' is neither request, tunnel nor message") from error
    if (stage is Stage.TUNNEL) is not tunnel:
        raise InvalidRequest("'method' must be CONNECT for a tunnel, and only for a tunnel")
    return stage


def _message(members: _RequestMembers, stage: Stage, *, truncated: bool, withheld: bool) -> Message | None:
    if (stage is Stage.MESSAGE) is not members.has("message"):
        raise InvalidRequest("'message' is required for the stage message, and only for it")
    if stage is not Stage.MESSAGE:
        return None
    if truncated or withheld or members.flag("addressesWithheld"):
        raise InvalidRequest("a message contains its whole content, and no withheld addresses")
    message = members.members("message")
    sequence = message.number("sequence")
    if not sequence:
        raise InvalidRequest("'sequence' of 'message' is not a positive integer")
    return Message(
        _one_of(MessageKind, message.required("kind"), "kind"),
        _one_of(Direction, message.required("direction"), "direction"),
        message.required("type"),
        sequence,
        message.text("ruleId"),
    )


def _one_of(kinds: type[_E], text: str, name: str) -> _E:
    try:
        return kinds(text)
    except ValueError as error:
        known = ", ".join(each.value for each in kinds)
        raise InvalidRequest(f"'{name}' of 'message' is not one of {known}") from error


def _target(url: str, method: str, stage: Stage) -> RequestTarget:
    tunnel = stage is Stage.TUNNEL
    try:
        # The request line of CONNECT contains only an authority, but an authorization request contains a URL.
        target = parse_request_target("GET" if tunnel else method, url.encode("utf-8"), DEFAULT_PORTS, canonical=True)
    except InvalidTarget as error:
        raise InvalidRequest(f"'url' is invalid: {error.reason}") from error
    if target.form is not TargetForm.ABSOLUTE:
        raise InvalidRequest("'url' is not an absolute http:// or https:// URL")
    if not tunnel:
        return target
    if target.path != "/":
        raise InvalidRequest("'url' of a tunnel must not have a path")
    return RequestTarget(TargetForm.ABSOLUTE, "", target.scheme, target.authority)


def _check_query(path: str, given: str | None) -> None:
    """Check that the separate query equals that of the URL. The URL is what the proxy contacts."""
    query = path.partition("?")[2]
    if given and given != query and _decoded(given) != _decoded(query):
        raise InvalidRequest("'queryParams' differs from the query of 'url'")


def _decoded(query: str) -> bytes:
    return unquote_to_bytes(query.replace("+", " "))


def _headers(given: str | dict[str, Any] | None) -> Headers:
    if isinstance(given, str):
        # Some callers write an empty string for no headers.
        try:
            given = parse_members(_encode_text("headers", given)) if given else {}
        except InvalidJson as error:
            raise InvalidRequest(f"'headers' is invalid: {error}") from error
    return tuple(_field(name, value) for name, value in (given or {}).items())


def _field(name: str, value: object) -> tuple[bytes, bytes]:
    if not _TOKEN.fullmatch(name):
        raise InvalidRequest("'headers' contains an invalid field name")
    if not isinstance(value, str) or _NOT_IN_A_VALUE.search(value):
        raise InvalidRequest("'headers' contains an invalid field value")
    return name.lower().encode("ascii"), _encode_text("headers", value)


def _body(members: _RequestMembers) -> bytes | None:
    text, encoding = members.text("body"), members.text("bodyEncoding")
    if encoding not in (None, "base64"):
        raise InvalidRequest("'bodyEncoding' is not base64")
    truncated = members.flag("bodyTruncated")
    if text is None and truncated:
        raise InvalidRequest("'bodyTruncated' requires 'body'")
    if not text:
        # If the limit cut the only character, the text is empty, but there is content.
        return b"" if truncated else None
    if members.flag("bodyWithheld"):
        raise InvalidRequest("'bodyWithheld' contradicts 'body'")
    if encoding is None:
        return text.encode("utf-8")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidRequest("'body' is not base64") from error


def _length(given: int | None, body: bytes | None, truncated: bool, withheld: bool) -> int | None:
    """Return the length of the content.  Without a length, that of partial or withheld content is unknown."""
    if withheld:
        return given
    length = len(body or b"")
    if truncated:
        if given is not None and given < length:
            raise InvalidRequest("'contentLength' is less than the length of 'body'")
        return given
    if given not in (None, length):
        raise InvalidRequest("'contentLength' differs from the length of 'body'")
    return length


def _client(client: _RequestMembers) -> ClientIdentity:
    address, identity = client.text("address"), client.text("identity")
    if identity is not None and (len(identity) > _MAX_IDENTITY or _UNPRINTABLE.search(identity)):
        raise InvalidRequest("'identity' of 'client' is not a valid name")
    client_address = str(address or UNKNOWN_CLIENT)
    if client_address != UNKNOWN_CLIENT and _UNIX_CLIENT.fullmatch(client_address) is None:
        client_address = str(_address(client_address, "client"))
    return ClientIdentity(client_address, 0, identity or None)


def _address(text: str, name: str) -> IPAddress:
    try:
        if "%" in text:
            raise ValueError("a zone is valid only on its own machine")
        return ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f"'{name}' contains an invalid IP address") from error


def _addresses(given: list[str] | None) -> tuple[IPAddress, ...] | None:
    if given is None:
        return None
    if not 0 < len(given) <= _MAX_ADDRESSES:
        raise InvalidRequest(f"'addresses' must contain 1 to {_MAX_ADDRESSES} addresses; omit it if they are unknown")
    return tuple(_address(text, "addresses") for text in given)


def _withheld(members: _RequestMembers, target: RequestTarget) -> bool:
    """Return whether the caller can look up the addresses, and repeat the request with them."""
    withheld = members.flag("addressesWithheld")
    if withheld and members.texts("addresses") is not None:
        raise InvalidRequest("'addressesWithheld' contradicts 'addresses'")
    # A host that is an address needs no lookup.
    return withheld and target.authority is not None and target.authority.ip is None


def _id(given: str | None, default: str) -> str:
    if given is None:
        return default
    if not _ID.fullmatch(given):
        raise InvalidRequest("'requestId' must have 1 to 128 visible ASCII characters")
    return given


def _terms(terms: MessageObligation) -> bool | dict[str, Any]:
    if terms == MessageObligation():
        return True
    return {"directions": sorted(each.value for each in terms.directions), "maxSize": terms.max_size}


def encode_response(decision: Decision) -> tuple[int, bytes]:
    """Encode a decision as a response, without absent members.

    @return: the status code, and JSON.
    """
    obligations = decision.obligations
    fields: dict[str, Any] = {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "ruleId": decision.rule_id,
        "policyVersion": decision.policy_version,
        "ttl": decision.ttl,
        "staleIfError": decision.stale_if_error,
        "cacheKey": None if decision.cache_key is None else list(decision.cache_key),
        "firm": True if decision.enforce_in_observe and decision.verdict is Verdict.DENY else None,
        "need": _NEED.get(decision.verdict),
        "ask": True if decision.verdict is Verdict.ASK else None,
        "setHeaders": json.loads(headers_value(obligations.set_headers)) if obligations.set_headers else None,
        "setSecretHeaders": json.loads(headers_value(obligations.secret_headers))
        if obligations.secret_headers
        else None,
        "removeHeaders": [name.decode("latin-1") for name in obligations.remove_headers] or None,
        "maxBytes": obligations.max_bytes,
        "expiresIn": obligations.expires_in,
        "messages": None if obligations.messages is None else _terms(obligations.messages),
    }
    # A caller that does not know "need" and "ask" reads a denial.
    denied = decision.verdict in (Verdict.DENY, Verdict.ASK)
    status = HTTPStatus.FORBIDDEN if denied else HTTPStatus.OK
    return status.value, _to_json({name: value for name, value in fields.items() if value is not None}).encode("ascii")


def encode_rejection(reason: str) -> bytes:
    """Encode the response to an invalid request: a denial, as in the documented sample."""
    return _to_json({"allowed": False, "reason": reason}).encode("ascii")
