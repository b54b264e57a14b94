"""gRPC statuses: their codes, and the encoding of their messages."""

from __future__ import annotations

import enum
import re
from typing import Final


class StatusCode(enum.IntEnum):
    """The status of a call, as C{grpc-status} names it."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_BY_VALUE: Final = {b"%d" % code: code for code in StatusCode}
_MAX_MESSAGE: Final = 1024
_ENCODED: Final = re.compile(rb"[^ -$&-~]")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def parse_status(value: bytes) -> StatusCode | None:
    """Parse the value of C{grpc-status}; C{None} if it is not a known status."""
    return _BY_VALUE.get(value)


def shorten(text: str) -> str:
    """Truncate the message of a status: it is sent twice, and clients limit the size of a head."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 3]}..."


def encode_message(text: str) -> bytes:
    """Encode the value of C{grpc-message}: UTF-8 with percent-encoding."""
    raw = shorten(text).encode("utf-8", "replace")
    return _ENCODED.sub(lambda found: b"%%%02X" % found[0][0], raw)


def decode_message(value: bytes) -> str:
    """Decode the value of C{grpc-message}. Invalid parts stay as they are, because a message must never get lost."""
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), value).decode("utf-8", "replace")
