"""The members of an authorization response that all APIs share.

A member that restricts or changes the request must be valid, or the response is not a decision.  An invalid member that
only describes the decision, or permits caching, is ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from egress.authz.protocols.strict_json import InvalidJson, parse_members
from egress.http.obligations import validate
from egress.model.decision import NEEDS, NO_OBLIGATIONS, Decision, Headers, Obligations, Verdict
from egress.model.message import DEFAULT_MAX_SIZE, Direction, MessageObligation

MAX_REASON: Final = 500
_MAX_VERSION: Final = 100
_MAX_SECONDS: Final = 86400 * 365
# Control characters, line ends, characters that change the direction of text, and half surrogate pairs, which cannot be
# encoded.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_CHANGING: Final = frozenset(
    {"need", "ask", "setHeaders", "setSecretHeaders", "removeHeaders", "maxBytes", "expiresIn", "messages"}
)
_REUSE: Final = frozenset({"ttl", "staleIfError", "cacheKey"})

_MESSAGE_MEMBERS: Final = frozenset({"directions", "maxSize"})
_DIRECTIONS: Final = {direction.value: direction for direction in Direction}

_REASONS: Final = {
    Verdict.ALLOW: "the authorization service allowed the request",
    Verdict.DENY: "the authorization service denied the request",
    Verdict.NEED_BODY: "the authorization service needs the content",
    Verdict.NEED_ADDRESSES: "the authorization service needs the addresses",
    Verdict.ASK: "the authorization service requires an approval",
}


class InvalidResponse(ValueError):
    """The response does not conform to the API.  The text names the fault."""


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate keys.

    @raise InvalidResponse: for any other content.
    """
    try:
        return parse_members(content)
    except InvalidJson as error:
        raise InvalidResponse(str(error)) from error


def printable(value: object) -> str | None:
    """Convert a text to one line for the client and the audit log.  Return C{None} for a value that is not a string."""
    if not isinstance(value, str):
        return None
    return _UNPRINTABLE.sub(" ", value).strip()[:MAX_REASON] or None


def _version(fields: Mapping[str, Any]) -> str | None:
    version = printable(fields.get("policyVersion"))
    return None if version is None else version[:_MAX_VERSION]


def settable(name: str) -> bool:
    """Return whether a response may set or remove a field."""
    return validate(Obligations(set_headers=((_raw(name), b""),))) is None


def _raw(text: str) -> bytes:
    # Text that cannot be encoded is not a valid name either: its bytes are outside the characters of a name.
    return text.encode("utf-8", "surrogatepass")


def _names(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidResponse("'removeHeaders' is not a list of names")
    return tuple(_raw(name).lower() for name in value)


def _fields(member: str, fields: Mapping[str, Any]) -> Headers:
    if member not in fields:
        return ()
    value = fields[member]
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidResponse(f"'{member}' is not an object of strings")
    try:
        return tuple((_raw(name), text.strip(" \t").encode("utf-8")) for name, text in value.items())
    except UnicodeEncodeError:
        # The cause contains the value, which may be a secret.
        raise InvalidResponse(f"a value in '{member}' contains an unpaired surrogate") from None


def _number(value: object) -> float | None:
    """Return a finite number. 1e400 is not finite, and an integer may be too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _max_bytes(value: object) -> int:
    number = _number(value)
    if number is None or number < 0 or not number.is_integer():
        raise InvalidResponse("'maxBytes' is not a non-negative integer")
    return int(number)


def _expires_in(value: object) -> float:
    number = _number(value)
    if number is None:
        raise InvalidResponse("'expiresIn' is not a number of seconds")
    return min(number, _MAX_SECONDS)


def _messages(value: object) -> MessageObligation | None:
    """Read C{messages}: a boolean, or an object with C{directions} and C{maxSize}."""
    if type(value) is bool:
        return MessageObligation() if value else None
    if not isinstance(value, dict):
        raise InvalidResponse("'messages' is neither a boolean nor an object")
    if not _MESSAGE_MEMBERS.issuperset(value):
        raise InvalidResponse("'messages' has an unknown member")
    size = _number(value.get("maxSize", DEFAULT_MAX_SIZE))
    if size is None or size < 1 or not size.is_integer():
        raise InvalidResponse("'maxSize' of 'messages' is not a positive integer")
    directions = value.get("directions", list(_DIRECTIONS))
    if not isinstance(directions, list) or not directions:
        raise InvalidResponse("'directions' of 'messages' is not a non-empty list")
    if not all(isinstance(each, str) and each in _DIRECTIONS for each in directions):
        raise InvalidResponse("'directions' of 'messages' has an entry other than \"client\" and \"origin\"")
    return MessageObligation(frozenset(_DIRECTIONS[each] for each in directions), int(size))


def _seconds(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= _MAX_SECONDS else None


def _obligations(fields: Mapping[str, Any]) -> Obligations:
    obligations = Obligations(
        set_headers=_fields("setHeaders", fields),
        secret_headers=_fields("setSecretHeaders", fields),
        remove_headers=_names(fields["removeHeaders"]) if "removeHeaders" in fields else (),
        max_bytes=_max_bytes(fields["maxBytes"]) if "maxBytes" in fields else None,
        expires_in=_expires_in(fields["expiresIn"]) if "expiresIn" in fields else None,
        messages=_messages(fields["messages"]) if "messages" in fields else None,
    )
    fault = validate(obligations, templates=True)
    if fault is not None:
        raise InvalidResponse(fault)
    return obligations


def _need(need: object, content: bool, addresses: bool) -> Verdict:
    if need == "body":
        if not content:
            raise InvalidResponse("'need' is \"body\", but no content was withheld")
        return Verdict.NEED_BODY
    if need == "addresses":
        if not addresses:
            raise InvalidResponse("'need' is \"addresses\", but no addresses were withheld")
        return Verdict.NEED_ADDRESSES
    raise InvalidResponse('\'need\' is neither "body" nor "addresses"')


def _verdict(allowed: bool | None, fields: Mapping[str, Any], content: bool, addresses: bool) -> Verdict:
    ask = fields.get("ask", False)
    if type(ask) is not bool:
        raise InvalidResponse("'ask' is not a boolean")
    if "need" in fields:
        verdict = _need(fields["need"], content, addresses)
        if allowed or ask:
            raise InvalidResponse("'need' contradicts 'allowed' or 'ask'")
        return verdict
    if ask:
        if allowed is not False:
            raise InvalidResponse("'ask' requires that 'allowed' is false")
        return Verdict.ASK
    return Verdict.ALLOW if allowed else Verdict.DENY


def decision_from(
    allowed: bool | None, fields: Mapping[str, Any], decided_by: str, withheld: bool, unresolved: bool = False
) -> Decision:
    """Make a decision from the verdict and the other members of a response.

    @param allowed: C{None} if the response contains no verdict.
    @param fields: the members C{reason}, C{ruleId}, C{ttl} and all the others.
    @param decided_by: the name of the authorizer, for the decision.
    @param withheld: whether the content was withheld from the authorization request.
    @param unresolved: whether the addresses were withheld from it, and can be looked up.
    @raise InvalidResponse: if the response is not a valid decision.
    """
    verdict = Verdict.ALLOW if allowed else Verdict.DENY
    obligations = NO_OBLIGATIONS
    if not _CHANGING.isdisjoint(fields):
        verdict = _verdict(allowed, fields, withheld, unresolved)
        obligations = _obligations(fields)
    if allowed is None and verdict not in NEEDS:
        raise InvalidResponse("'allowed' is missing")
    reason = printable(fields.get("reason")) or _REASONS[verdict]
    rule_id, version = printable(fields.get("ruleId")), _version(fields)
    # Any value except false: an invalid value must not disable enforcement in observe mode.
    firm = verdict is Verdict.DENY and fields.get("firm", False) is not False
    if _REUSE.isdisjoint(fields):
        return Decision(
            verdict,
            reason,
            decided_by,
            rule_id,
            obligations=obligations,
            enforce_in_observe=firm,
            policy_version=version,
        )
    ttl, stale_if_error = _seconds(fields.get("ttl")), _seconds(fields.get("staleIfError"))
    key = fields.get("cacheKey")
    if "cacheKey" not in fields:
        parts = None
    elif isinstance(key, list) and all(isinstance(part, str) for part in key):
        parts = tuple(key)
    else:
        # It is unknown on which parts the decision depends, so it applies only to this request.
        parts = ttl = stale_if_error = None
    return Decision(
        verdict,
        reason,
        decided_by,
        rule_id,
        ttl,
        stale_if_error,
        parts,
        obligations,
        firm,
        policy_version=version,
    )
