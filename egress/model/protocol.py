"""The names of protocols: in the C{Upgrade} field (RFC 9110 section 7.8), and in ALPN."""

from __future__ import annotations

import re
from typing import Final

WEBSOCKET: Final = b"websocket"
# The versions of HTTP over TLS, as ALPN names them (RFC 7301 section 6, RFC 9113 section 3.2).
ALPN_HTTP_1: Final = b"http/1.1"
ALPN_HTTP_2: Final = b"h2"

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A name, with or without a version.
_PROTOCOL: Final = re.compile(rb"%b(?:/%b)?" % (_TOKEN, _TOKEN))
_HTTP_OR_TLS: Final = re.compile(rb"(?:h2c?|h3|https?|tls)(?:[/-].*)?", re.DOTALL | re.IGNORECASE)


def is_http_or_tls(name: bytes) -> bool:
    """Return whether a protocol is another version of HTTP, or TLS as a transport (RFC 2817).

    Clients offer these with ordinary requests and continue without them; an upgraded connection would carry requests
    that are not authorized.
    """
    return _HTTP_OR_TLS.fullmatch(name) is not None


def protocol_name(text: str) -> str:
    """Validate the name of a protocol to which operators may permit an upgrade.

    @return: the name in lower case; protocol names are compared case-insensitively.
    @raise ValueError: if the name is not valid; the message says what to write instead.
    """
    name = text.lower().encode("utf-8")
    if _PROTOCOL.fullmatch(name) is None:
        raise ValueError("write a name as in the Upgrade field, such as tcp or spdy/3.1")
    if name == WEBSOCKET:
        raise ValueError("WebSockets are always relayed: remove it")
    if is_http_or_tls(name):
        raise ValueError("the proxy cannot authorize the requests inside: remove it")
    return name.decode("ascii")
