"""The members of an authorization request that all JSON APIs share."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from egress.authz.protocols.base import unsupported_request
from egress.grpc.call import call_of
from egress.model.decision import DecisionRequest, Headers
from egress.model.message import Message

# JSONEncoder.encode makes an encoder in C for each call, which takes half of its time.
_python: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_make: Final[Any] = getattr(json.encoder, "c_make_encoder", None)
_pieces: Final[Callable[[Any, int], Iterable[str]]] = (
    _python.iterencode  # type: ignore[assignment]
    if _make is None
    else _make(None, _python.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)
)

quoted: Final[Callable[[str], str]] = json.encoder.encode_basestring
"""Serializes one string, as L{to_json} does, in a fraction of its time."""


def to_json(value: Any) -> str:
    """Serialize a value without whitespace, with the characters as they are."""
    return "".join(_pieces(value, 0))


def encoded(document: dict[str, Any]) -> bytes:
    """Serialize an authorization request.

    @raise AuthorizerUnavailable: if it contains text that cannot be encoded.
    """
    return in_utf8(to_json(document))


def in_utf8(text: str) -> bytes:
    """Encode the text of an authorization request.

    @raise AuthorizerUnavailable: if it cannot be encoded.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise unsupported_request("text") from error


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def joined(headers: Headers) -> dict[str, str]:
    """Join all fields of the same name into one value, with names in lower case."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name in fields:
            fields[name] += ("; " if name == "cookie" else ", ") + value
        else:
            fields[name] = value
    return fields


def _drop_partial_character(body: bytes) -> bytes:
    """Remove a UTF-8 character at the end that the limit cut off (at most three bytes)."""
    for back in range(1, min(4, len(body) + 1)):
        byte = body[-back]
        if byte & 0xC0 != 0x80:
            needed = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            return body[:-back] if needed > back else body
    return body


def add_content(document: dict[str, Any], request: DecisionRequest) -> None:
    """Add the content, its decoded form, or a flag for withheld content."""
    body = request.body
    if body:
        try:
            document["body"] = (_drop_partial_character(body) if request.body_truncated else body).decode("utf-8")
        except UnicodeDecodeError:
            document["body"] = base64.b64encode(body).decode("ascii")
            document["bodyEncoding"] = "base64"
        if request.decoded_body is not None:
            _add_decoded(document, request.decoded_body)
        elif request.undecodable is not None:
            document["decodedBodyError"] = request.undecodable
        if request.body_truncated:
            document["bodyTruncated"] = True
    elif request.body_withheld:
        document["bodyWithheld"] = True
    if request.content_length:
        document["contentLength"] = request.content_length


def _add_decoded(document: dict[str, Any], body: bytes) -> None:
    try:
        document["decodedBody"] = body.decode("utf-8")
    except UnicodeDecodeError:
        document["decodedBody"] = base64.b64encode(body).decode("ascii")
        document["decodedBodyEncoding"] = "base64"


def add_context(document: dict[str, Any], request: DecisionRequest) -> None:
    """Add the request id, the client, the stage, the gRPC call, the attributes of a message, and the addresses."""
    document["requestId"] = request.request_id
    client: dict[str, str] = {"address": request.client.address}
    if request.client.identity is not None:
        client["identity"] = request.client.identity
    document["client"] = client
    document["stage"] = request.stage.value
    add_details(document, request)


def add_details(document: dict[str, Any], request: DecisionRequest) -> None:
    """Add those members of L{add_context} that most requests do not have."""
    call = call_of(request.method, request.path, request.headers)
    if call is not None:
        document["grpc"] = {"service": call.service, "method": call.method}
    if request.message is not None:
        document["message"] = _message(request.message)
    if request.addresses:
        document["addresses"] = [str(address) for address in request.addresses]
    elif request.addresses_withheld:
        document["addressesWithheld"] = True


def _message(message: Message) -> dict[str, Any]:
    members: dict[str, Any] = {
        "kind": message.kind.value,
        "direction": message.direction.value,
        "type": message.type,
        "sequence": message.sequence,
    }
    if message.rule_id is not None:
        members["ruleId"] = message.rule_id
    return members


def destination(request: DecisionRequest) -> dict[str, Any]:
    """Return the components of the URL, so that a policy does not have to parse it."""
    authority = request.authority
    path, separator, query = request.path.partition("?")
    components: dict[str, Any] = {
        "scheme": request.origin.scheme,
        "host": authority.host,
        "port": authority.port,
        "path": path,
    }
    if separator:
        components["query"] = query
    return components
