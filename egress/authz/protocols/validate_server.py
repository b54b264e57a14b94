"""The C{/validate} contract from the side of the service: bytes to a question, a decision to an answer.

It is L{egress.authz.protocols.validate} the other way round.  Whatever of a question has two readings, or says two
things, is refused: what is decided on must be what is contacted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from egress.authz.protocols.strict_json import InvalidJson, parse_members
from egress.authz.protocols.validate import headers_value
from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.model.authority import DEFAULT_PORTS, IPAddress, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Headers, Stage, Verdict
from egress.model.errors import InvalidTarget

UNKNOWN_CLIENT: Final = "unknown"
"""The address of a client of which nothing is known, as L{egress.proxy.tunnel_binding} has it: it is in no range."""
# That of a client behind a UNIX socket, as the same has it.
_UNIX_CLIENT: Final = re.compile(r"unix-uid-[0-9]{1,10}")

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_METHOD: Final = 64
_ID: Final = re.compile(r"[!-~]{1,128}")
_MAX_IDENTITY: Final = 512
# The proxy asks about every address of a name, and takes no more of them from a resolver.
_MAX_ADDRESSES: Final = 256
# Field values have neither (RFC 9110 section 5.5).
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00\r\n]")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_LENGTH: Final = 2**63

# Made once: json.dumps makes one for each call.
_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode


_NEED: Final = {Verdict.NEED_BODY: "body", Verdict.NEED_ADDRESSES: "addresses"}


class InvalidRequest(ValueError):
    """Something that is no question.

    @ivar reason: what is wrong with it, in one sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


class _Question:
    """The members of a question, each taken with its type."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def text(self, name: str) -> str | None:
        """A string; C{None} where there is none."""
        value = self._get(name, str, "a string")
        if value is None:
            return None
        _bytes_of(name, value)
        return str(value)

    def needed(self, name: str) -> str:
        """A string that must be there."""
        value = self.text(name)
        if not value:
            raise InvalidRequest(f"'{name}' is missing")
        return value

    def flag(self, name: str) -> bool:
        """C{true} or C{false}, which is what is meant by none."""
        return bool(self._get(name, bool, "true or false"))

    def number(self, name: str) -> int | None:
        """A whole number that is not negative."""
        value = self._get(name, int, "a whole number")
        if value is not None and not 0 <= value < _MAX_LENGTH:
            raise InvalidRequest(f"'{name}' is out of range")
        return None if value is None else int(value)

    def members(self, name: str) -> _Question:
        """An object."""
        return _Question(self._get(name, dict, "an object") or {})

    def texts(self, name: str) -> list[str] | None:
        """A list of strings."""
        value = self._get(name, list, "a list")
        if value is not None and not all(isinstance(each, str) for each in value):
            raise InvalidRequest(f"'{name}' is not a list of strings")
        return None if value is None else list(value)

    def either(self, name: str) -> str | dict[str, Any] | None:
        """A string or an object."""
        value = self._members.get(name)
        if value is not None and not isinstance(value, (str, dict)):
            raise InvalidRequest(f"'{name}' is neither a string nor an object")
        return value

    def _get(self, name: str, kind: type, what: str) -> Any:
        # A null is what some write for none.
        value = self._members.get(name)
        if value is not None and not _is(value, kind):
            raise InvalidRequest(f"'{name}' is not {what}")
        return value


def _bytes_of(name: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"'{name}' has half a surrogate pair, which is no text") from error


def decode_request(content: bytes, request_id: str) -> DecisionRequest:
    """Read a question.

    @param request_id: names a question that does not name itself.
    @raise InvalidRequest: saying what is wrong.
    """
    try:
        question = _Question(parse_members(content))
    except InvalidJson as error:
        raise InvalidRequest(f"the question {error}") from error
    url, method = question.needed("url"), question.needed("method")
    stage = _stage(question.text("stage"), method)
    target = _target(url, method, stage)
    assert target.scheme is not None
    assert target.authority is not None
    _check_query(target.path, question.text("queryParams"))
    body = _body(question)
    truncated, withheld = question.flag("bodyTruncated"), question.flag("bodyWithheld")
    return DecisionRequest(
        request_id=_id(question.text("requestId"), request_id),
        stage=stage,
        method=method,
        origin=Origin.of(target.scheme, target.authority),
        path=target.path,
        headers=_headers(question.either("headers")),
        client=_client(question.members("client")),
        body=body,
        body_truncated=truncated,
        body_withheld=withheld,
        content_length=_length(question.number("contentLength"), body, truncated, withheld),
        addresses=_addresses(question.texts("addresses")),
        addresses_withheld=_withheld(question, target),
    )


def _stage(named: str | None, method: str) -> Stage:
    if not _TOKEN.fullmatch(method) or len(method) > _MAX_METHOD:
        raise InvalidRequest("'method' is not the name of a method")
    tunnel = method == "CONNECT"
    try:
        stage = (Stage.TUNNEL if tunnel else Stage.REQUEST) if named is None else Stage(named)
    except ValueError as error:
        raise InvalidRequest("'stage' is neither request nor tunnel") from error
    if (stage is Stage.TUNNEL) is not tunnel:
        raise InvalidRequest("CONNECT is the method of a tunnel, and of nothing else")
    return stage


def _target(url: str, method: str, stage: Stage) -> RequestTarget:
    tunnel = stage is Stage.TUNNEL
    try:
        # Of CONNECT a request line has the authority alone, but a question a URL.
        target = parse_request_target("GET" if tunnel else method, url.encode("utf-8"), DEFAULT_PORTS, canonical=True)
    except InvalidTarget as error:
        raise InvalidRequest(f"'url' cannot be contacted: {error.reason}") from error
    if target.form is not TargetForm.ABSOLUTE:
        raise InvalidRequest("'url' is not an absolute http:// or https:// URL")
    if not tunnel:
        return target
    if target.path != "/":
        raise InvalidRequest("'url' has a path, which a tunnel has not")
    return RequestTarget(TargetForm.ABSOLUTE, "", target.scheme, target.authority)


def _check_query(path: str, named: str | None) -> None:
    """Compare the query as it is named apart with that of the URL, which is what counts: it is what is contacted."""
    query = path.partition("?")[2]
    if named and named != query and _decoded(named) != _decoded(query):
        raise InvalidRequest("'queryParams' is not the query of 'url'")


def _decoded(query: str) -> bytes:
    return unquote_to_bytes(query.replace("+", " "))


def _headers(given: str | dict[str, Any] | None) -> Headers:
    if isinstance(given, str):
        # Some write nothing for none.
        try:
            given = parse_members(_bytes_of("headers", given)) if given else {}
        except InvalidJson as error:
            raise InvalidRequest(f"the text of 'headers' {error}") from error
    return tuple(_field(name, value) for name, value in (given or {}).items())


def _field(name: str, value: object) -> tuple[bytes, bytes]:
    if not _TOKEN.fullmatch(name):
        raise InvalidRequest("'headers' has a name that no field can have")
    if not isinstance(value, str) or _NOT_IN_A_VALUE.search(value):
        raise InvalidRequest("'headers' has a value that no field can have")
    return name.lower().encode("ascii"), _bytes_of("headers", value)


def _body(question: _Question) -> bytes | None:
    text, encoding = question.text("body"), question.text("bodyEncoding")
    if encoding not in (None, "base64"):
        raise InvalidRequest("'bodyEncoding' is not base64, the only one there is")
    truncated = question.flag("bodyTruncated")
    if text is None and truncated:
        raise InvalidRequest("'bodyTruncated' is said of no 'body'")
    if not text:
        # Of the beginning of one character nothing is left, but there is content.
        return b"" if truncated else None
    if question.flag("bodyWithheld"):
        raise InvalidRequest("'bodyWithheld' is said of a 'body' that is there")
    if encoding is None:
        return text.encode("utf-8")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidRequest("'body' is not base64") from error


def _length(named: int | None, body: bytes | None, truncated: bool, withheld: bool) -> int | None:
    """The length of the content.  What nobody says of content that is not all there stays unknown."""
    if withheld:
        return named
    length = len(body or b"")
    if truncated:
        if named is not None and named < length:
            raise InvalidRequest("'contentLength' is less than the 'body' that is there")
        return named
    if named not in (None, length):
        raise InvalidRequest("'contentLength' is not the length of 'body'")
    return length


def _client(client: _Question) -> ClientIdentity:
    address, identity = client.text("address"), client.text("identity")
    if identity is not None and (len(identity) > _MAX_IDENTITY or _UNPRINTABLE.search(identity)):
        raise InvalidRequest("the 'identity' of 'client' is no name")
    known = str(address or UNKNOWN_CLIENT)
    if known != UNKNOWN_CLIENT and _UNIX_CLIENT.fullmatch(known) is None:
        known = str(_address(known, "client"))
    return ClientIdentity(known, 0, identity or None)


def _address(text: str, name: str) -> IPAddress:
    try:
        if "%" in text:
            raise ValueError("a zone means something on one machine alone")
        return ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f"'{name}' has something that is no IP address") from error


def _addresses(given: list[str] | None) -> tuple[IPAddress, ...] | None:
    if given is None:
        return None
    if not 0 < len(given) <= _MAX_ADDRESSES:
        raise InvalidRequest(
            f"'addresses' has not 1 to {_MAX_ADDRESSES} addresses; leave it out where they are unknown"
        )
    return tuple(_address(text, "addresses") for text in given)


def _withheld(question: _Question, target: RequestTarget) -> bool:
    """Whether the caller can look up the addresses, and asks again with them if told to."""
    withheld = question.flag("addressesWithheld")
    if withheld and question.texts("addresses") is not None:
        raise InvalidRequest("'addressesWithheld' is said of 'addresses' that are there")
    # An address needs no look-up.
    return withheld and target.authority is not None and target.authority.ip is None


def _id(named: str | None, otherwise: str) -> str:
    if named is None:
        return otherwise
    if not _ID.fullmatch(named):
        raise InvalidRequest("'requestId' is not a word of up to 128 visible ASCII characters")
    return named


def encode_response(decision: Decision) -> tuple[int, bytes]:
    """Write a decision as an answer; what it does not say is left out.

    @return: the status code, and JSON.
    """
    terms = decision.obligations
    fields: dict[str, Any] = {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "ruleId": decision.rule_id,
        "ttl": decision.ttl,
        "staleIfError": decision.stale_if_error,
        "cacheKey": None if decision.cache_key is None else list(decision.cache_key),
        "firm": True if decision.enforce_in_observe and decision.verdict is Verdict.DENY else None,
        "need": _NEED.get(decision.verdict),
        "ask": True if decision.verdict is Verdict.ASK else None,
        "setHeaders": json.loads(headers_value(terms.set_headers)) if terms.set_headers else None,
        "setSecretHeaders": json.loads(headers_value(terms.secret_headers)) if terms.secret_headers else None,
        "removeHeaders": [name.decode("latin-1") for name in terms.remove_headers] or None,
        "maxBytes": terms.max_bytes,
        "expiresIn": terms.expires_in,
    }
    # A caller who knows nothing of "need" and "ask" finds a denial.
    denied = decision.verdict in (Verdict.DENY, Verdict.ASK)
    status = HTTPStatus.FORBIDDEN if denied else HTTPStatus.OK
    return status.value, _to_json({name: value for name, value in fields.items() if value is not None}).encode("ascii")


def encode_rejection(reason: str) -> bytes:
    """Write the answer to something that is no question; as in the documented sample, it is a denial."""
    return _to_json({"allowed": False, "reason": reason}).encode("ascii")
