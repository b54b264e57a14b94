"""The details of a gRPC status: C{google.rpc.Status} with one C{google.rpc.ErrorInfo}.

These two messages are encoded here, because a denial must not depend on an optional library: C{protobuf} is only
installed where policies match the fields of messages.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

import attrs

from egress.grpc.status import StatusCode, shorten

DOMAIN: Final = "egressproxy"

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_BYTES: Final = 2


@attrs.frozen
class ErrorInfo:
    """The cause of an error for programs.

    @ivar reason: a stable identifier in capitals.
    @ivar metadata: more about the error.
    """

    reason: str
    metadata: Mapping[str, str]


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _field(number: int, value: str | bytes) -> bytes:
    raw = value.encode("utf-8", "replace") if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(raw)) + raw


def encode_status(code: StatusCode, message: str, info: ErrorInfo) -> bytes:
    """Serialize a C{google.rpc.Status} with an C{ErrorInfo}."""
    error_info = _field(1, info.reason) + _field(2, DOMAIN)
    for key, value in info.metadata.items():
        error_info += _field(3, _field(1, key) + _field(2, value))
    any_message = _field(1, _ERROR_INFO) + _field(2, error_info)
    return _varint(1 << 3) + _varint(code) + _field(2, shorten(message)) + _field(3, any_message)


def encode_binary(value: bytes) -> bytes:
    """Encode the value of a field whose name ends with C{-bin}: base64 without padding."""
    return base64.b64encode(value).rstrip(b"=")
