"""The validation of upgrade requests and of the responses that switch protocols (RFC 9110 section 7.8)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from typing import Final

import attrs

from egress.http.events import RequestHead, ResponseHead
from egress.model.decision import Headers
from egress.model.errors import BadRequest, UnsupportedRequest
from egress.model.protocol import WEBSOCKET, is_http_or_tls

_WEBSOCKET_VERSION: Final = b"13"
# 16 bytes in Base64. Extra bits in the last digit are ignored, as common servers do.
_WEBSOCKET_KEY: Final = re.compile(rb"[+/0-9A-Za-z]{22}==")
# RFC 6455 section 1.3.
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_MAX_QUOTED: Final = 40


@attrs.frozen
class Upgrade:
    """An upgrade that a request asks for.

    @ivar protocol: the name in the client's spelling; for a WebSocket in lower case.
    @ivar key: the value of C{Sec-WebSocket-Key} of a WebSocket, otherwise empty.
    """

    protocol: bytes
    key: bytes = b""

    @property
    def is_websocket(self) -> bool:
        """Whether it is a WebSocket, whose protocol closes both directions itself."""
        return bool(self.key)

    def validate(self, head: ResponseHead) -> str | None:
        """Check a C{101} against the request.

        @return: the error; C{None} if the response is valid.
        """
        switched_to = [value.lower() for name, value in head.headers if name.lower() == b"upgrade"]
        if switched_to != [self.protocol.lower()] or b"upgrade" not in head.connection_options:
            return "the origin switched to a protocol that the client did not request"
        if self.key and _values(head.headers, b"sec-websocket-accept") != [accept_of(self.key)]:
            return "the origin's Sec-WebSocket-Accept does not belong to the request's Sec-WebSocket-Key"
        return None


def accept_of(key: bytes) -> bytes:
    """The C{Sec-WebSocket-Accept} value for a C{Sec-WebSocket-Key} (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())


def requested_upgrade(head: RequestHead, allowed: Collection[str] = ()) -> Upgrade | None:
    """Determine the upgrade that a request asks for.

    Upgrades to other versions of HTTP are ignored, as RFC 9110 section 7.8 allows: the request is forwarded without
    them. The same applies to a WebSocket request with another method than C{GET}, with content, or together with
    another version of HTTP.

    @param head: the head of the request.
    @param allowed: in lower case, the protocols besides WebSockets that the operator allows.
    @return: C{None} if the request is forwarded without an upgrade.
    @raise UnsupportedRequest: if a protocol is not allowed; the reason names it.
    @raise BadRequest: if a WebSocket handshake is not valid (RFC 6455 section 4.1), or there are several protocols.
    """
    if head.upgrade is None:
        return None
    offered = dict.fromkeys(member.strip(b" \t") for member in head.upgrade.split(b","))
    requested = [name for name in offered if name and not is_http_or_tls(name)]
    for name in requested:
        if name.lower() != WEBSOCKET and name.lower().decode("latin-1") not in allowed:
            quoted_name = name[:_MAX_QUOTED].decode("latin-1")
            raise UnsupportedRequest(
                f"the proxy does not relay an upgrade to {quoted_name!a}; "
                "the operator can allow it with --upgrade-protocols"
            )
    if len({name.lower() for name in requested}) > 1:
        raise BadRequest("the request offers an upgrade to several protocols, one of which is relayed unread")
    if not requested or len(offered) > len(requested):
        return None
    if requested[0].lower() != WEBSOCKET:
        return Upgrade(requested[0])
    if head.method != "GET" or head.framing.has_body:
        return None
    return Upgrade(WEBSOCKET, _websocket_key(head.headers))


def _websocket_key(headers: Headers) -> bytes:
    if _values(headers, b"sec-websocket-version") != [_WEBSOCKET_VERSION]:
        raise BadRequest("the WebSocket handshake must have Sec-WebSocket-Version: 13")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or _WEBSOCKET_KEY.fullmatch(keys[0]) is None:
        raise BadRequest("the WebSocket handshake must have a Sec-WebSocket-Key of 16 bytes in Base64")
    return keys[0]


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for one, value in headers if one.lower() == name]
