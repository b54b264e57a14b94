"""The C{/validate} contract: a question to bytes, an answer to a decision.

Source: the authorization contract of the Postman runner's built-in proxy, and what this project decides where that is
silent (C{docs/authorization.md}).
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import Any, Final
from urllib.parse import urlsplit

from egress.authz.members import NotMembers, members_of
from egress.model.decision import Decision, DecisionRequest, Headers, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.outage import Outage

_MAX_REASON: Final = 500
# Control characters, line ends, what turns the direction of text, and half surrogate pairs, which cannot be encoded.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
_WIRE_PATH: Final = re.compile(r"[!-~]*")
# Made once: json.dumps makes one for each call.
_to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def validate_url(text: str) -> str:
    """Give the URL to ask, from the one that was configured: C{/validate} is appended unless it ends so.

    @raise ValueError: saying what to give instead.
    """
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError("give an http:// or https:// URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("give credentials with --authz-token-file, not in the URL")
    if parts.fragment or parts.query:
        raise ValueError("give a URL without query and fragment")
    if not _WIRE_PATH.fullmatch(parts.path):
        raise ValueError("percent-encode what is not plain ASCII in its path")
    path = parts.path.rstrip("/")
    if not path.endswith("/validate"):
        path += "/validate"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def headers_value(headers: Headers) -> str:
    """The field C{headers}: JSON in a string, lower-case names, repeated fields joined."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name in joined:
            joined[name] += ("; " if name == "cookie" else ", ") + value
        else:
            joined[name] = value
    return _to_json(joined)


def _cut_back(body: bytes) -> bytes:
    """Take off the beginning of a character that a limit cut in two (at most three bytes)."""
    for back in range(1, min(4, len(body) + 1)):
        byte = body[-back]
        if byte & 0xC0 != 0x80:
            needed = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            return body[:-back] if needed > back else body
    return body


def _add_body(question: dict[str, Any], body: bytes, truncated: bool) -> None:
    try:
        question["body"] = (_cut_back(body) if truncated else body).decode("utf-8")
    except UnicodeDecodeError:
        question["body"] = base64.b64encode(body).decode("ascii")
        question["bodyEncoding"] = "base64"
    if truncated:
        question["bodyTruncated"] = True


def encode_question(request: DecisionRequest) -> bytes:
    """Serialize a question; every documented field is a string.

    @raise AuthorizerUnavailable: when it has text that cannot be encoded: something else would be decided on than what
        is sent.
    """
    question: dict[str, Any] = {
        "url": request.url,
        "method": request.method,
        "headers": headers_value(request.headers),
    }
    query = request.query
    if query:
        question["queryParams"] = query
    if request.body:
        _add_body(question, request.body, request.body_truncated)
    question["requestId"] = request.request_id
    client: dict[str, str] = {"address": request.client.address}
    if request.client.identity is not None:
        client["identity"] = request.client.identity
    question["client"] = client
    question["stage"] = request.stage.value
    try:
        return _to_json(question).encode("utf-8")
    except UnicodeEncodeError as error:
        reason = "the request has text that cannot be put to an authorization service"
        raise AuthorizerUnavailable(reason, Outage.QUESTION) from error


def _string(answer: dict[str, Any], name: str) -> str | None:
    value = answer.get(name)
    if not isinstance(value, str):
        return None
    return _UNPRINTABLE.sub(" ", value).strip()[:_MAX_REASON] or None


def _ttl(answer: dict[str, Any]) -> float | None:
    value = answer.get("ttl")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 86400 * 365 and math.isfinite(value) else None


def _no_decision(what: str) -> AuthorizerUnavailable:
    return AuthorizerUnavailable(f"the authorization service {what}", Outage.ANSWER)


def decode_answer(status: int, body: bytes, decided_by: str) -> Decision:
    """Read an answer.

    Only a 200 whose C{allowed} is exactly C{true} allows; C{allowed: false} denies under any status.

    @raise AuthorizerUnavailable: for everything else, saying what was wrong.
    """
    try:
        answer = members_of(body)
    except NotMembers as error:
        what = f"answered with status {status}" if status != 200 else f"gave an answer that {error}"
        raise _no_decision(what) from error
    allowed = answer.get("allowed")
    if allowed is False:
        reason = _string(answer, "reason") or "the authorization service denied the request"
        return Decision(Verdict.DENY, reason, decided_by, _string(answer, "ruleId"), _ttl(answer))
    if status != 200:
        raise _no_decision(f"answered with status {status}")
    if allowed is not True:
        what = (
            "does not say whether it is allowed" if "allowed" not in answer else "has an 'allowed' that is no boolean"
        )
        raise _no_decision(f"gave an answer that {what}")
    reason = _string(answer, "reason") or "the authorization service allowed the request"
    return Decision(Verdict.ALLOW, reason, decided_by, _string(answer, "ruleId"), _ttl(answer))
