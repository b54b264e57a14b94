"""The detection of the protocol inside a CONNECT tunnel from the client's first bytes."""

from __future__ import annotations

import enum
import re
from typing import Final

# The first bytes of a client on each HTTP/2 connection (RFC 9113 section 3.4).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class TunnelProtocol(enum.Enum):
    """The protocol inside a CONNECT tunnel.

    @cvar TLS: a TLS handshake.
    @cvar HTTP: an HTTP/1 request in clear text.
    @cvar HTTP2: the preface of HTTP/2 in clear text, from a client with prior knowledge.
    @cvar UNKNOWN: any other protocol.
    """

    TLS = "tls"
    HTTP = "http"
    HTTP2 = "http2"
    UNKNOWN = "unknown"


# RFC 8446 section 5.1: a record of type handshake (22), legacy version 3.x; then the handshake type ClientHello (1).
_TLS_START = b"\x16\x03"
# Methods are case-sensitive tokens (RFC 9110 section 9.1), with the same length limit as in request heads.
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
# The identification string of SSH (RFC 4253 section 4.2) starts like a method, and a space can follow.
_SSH = b"SSH-"


def starts_http2(first: bytes) -> bool | None:
    """Tell whether a client begins with the preface of HTTP/2.

    @param first: all data that was received.
    @return: C{None} if more data is needed.
    """
    size = len(PREFACE)
    if len(first) < size:
        return None if PREFACE.startswith(first) else False
    return first.startswith(PREFACE)


def detect_protocol(first: bytes, *, http2: bool = False) -> TunnelProtocol | None:
    """Detect the client's protocol.

    @param first: all data that was received after the CONNECT.
    @param http2: whether the client can use HTTP/2; otherwise its preface is a request of HTTP/1.
    @return: C{None} if more data is needed.
    """
    if not first:
        return None
    if first[:2] == _TLS_START[: len(first)]:
        return TunnelProtocol.TLS if len(first) >= 2 else None
    if http2:
        found = starts_http2(first)
        if found is not False:
            return TunnelProtocol.HTTP2 if found else None
    method, space, _ = first.partition(b" ")
    if not _METHOD.fullmatch(method) or method.startswith(_SSH):
        return TunnelProtocol.UNKNOWN
    return TunnelProtocol.HTTP if space else None
