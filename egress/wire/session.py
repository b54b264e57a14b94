"""What a client speaks inside a CONNECT, told from its first bytes."""

from __future__ import annotations

import enum
import re


class Inner(enum.Enum):
    """What was found inside a CONNECT."""

    TLS = "tls"
    HTTP = "http"
    UNKNOWN = "unknown"


# RFC 8446 section 5.1: a record of type handshake (22), legacy version 3.x; then the handshake type ClientHello (1).
_TLS_START = b"\x16\x03"
_METHOD = re.compile(rb"[A-Z][A-Z0-9_-]{0,63}")


def recognize(first: bytes) -> Inner | None:
    """Tell what the client speaks.

    @param first: everything that was received after the CONNECT.
    @return: C{None} when more must be received to tell.
    """
    if not first:
        return None
    if first[:2] == _TLS_START[: len(first)]:
        return Inner.TLS if len(first) >= 2 else None
    method, space, _ = first.partition(b" ")
    if not _METHOD.fullmatch(method):
        return Inner.UNKNOWN
    return Inner.HTTP if space else None
