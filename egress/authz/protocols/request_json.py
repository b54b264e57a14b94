"""What the APIs that speak JSON say of a request, each in a form of its own."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from egress.authz.protocols.base import unsupported_request
from egress.model.decision import DecisionRequest, Headers

# Made once: json.dumps makes one for each call.
to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encoded(question: dict[str, Any]) -> bytes:
    """Serialize a question.

    @raise AuthorizerUnavailable: when it has text that cannot be encoded.
    """
    try:
        return to_json(question).encode("utf-8")
    except UnicodeEncodeError as error:
        raise unsupported_request("text") from error


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def joined(headers: Headers) -> dict[str, str]:
    """Make one text of all fields of a name; the names in lower case."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name in fields:
            fields[name] += ("; " if name == "cookie" else ", ") + value
        else:
            fields[name] = value
    return fields


def _cut_back(body: bytes) -> bytes:
    """Take off the beginning of a character that a limit cut in two (at most three bytes)."""
    for back in range(1, min(4, len(body) + 1)):
        byte = body[-back]
        if byte & 0xC0 != 0x80:
            needed = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            return body[:-back] if needed > back else body
    return body


def add_content(question: dict[str, Any], request: DecisionRequest) -> None:
    """Say what the content is, or that there is one."""
    body = request.body
    if body:
        try:
            question["body"] = (_cut_back(body) if request.body_truncated else body).decode("utf-8")
        except UnicodeDecodeError:
            question["body"] = base64.b64encode(body).decode("ascii")
            question["bodyEncoding"] = "base64"
        if request.body_truncated:
            question["bodyTruncated"] = True
    elif request.body_withheld:
        question["bodyWithheld"] = True
    if request.content_length:
        question["contentLength"] = request.content_length


def add_context(question: dict[str, Any], request: DecisionRequest) -> None:
    """Say who asks, and what else is known."""
    question["requestId"] = request.request_id
    client: dict[str, str] = {"address": request.client.address}
    if request.client.identity is not None:
        client["identity"] = request.client.identity
    question["client"] = client
    question["stage"] = request.stage.value
    if request.addresses:
        question["addresses"] = [str(address) for address in request.addresses]
    elif request.addresses_withheld:
        question["addressesWithheld"] = True


def destination(request: DecisionRequest) -> dict[str, Any]:
    """The parts of the URL, so that no policy has to take it apart."""
    authority = request.authority
    path, mark, query = request.path.partition("?")
    parts: dict[str, Any] = {
        "scheme": request.origin.scheme,
        "host": authority.host,
        "port": authority.port,
        "path": path,
    }
    if mark:
        parts["query"] = query
    return parts
