"""A parser for the ClientHello: the facts that the proxy needs before OpenSSL reads the message.

The result is only a hint, and OpenSSL makes all decisions: it also handles a message that this parser rejects.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from egress.model.client_tls import LeafKey

# Clients send much less, even with post-quantum key shares; a longer message is not a client's hello.
_MAX_BYTES: Final = 32 * 1024
_MAX_RECORDS: Final = 16

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1

# Extensions (RFC 8446 section 4.2, RFC 6066 section 3, RFC 7301 section 3.1).
_SERVER_NAME: Final = 0
_GROUPS: Final = 10
_SIGNATURES: Final = 13
_ALPN: Final = 16
_VERSIONS: Final = 43

_WANTED: Final = frozenset((_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _VERSIONS))
# The only type of a server name (RFC 6066 section 3).
_HOST_NAME: Final = 0
_NUMBER: Final = struct.Struct(">H")
_EXTENSION: Final = struct.Struct(">HH")

_TLS13: Final = 0x0304
_SECP256R1: Final = 0x0017
_SECP384R1: Final = 0x0018
_ECDSA_P256_SHA256: Final = 0x0403
_ECDSA_P384_SHA384: Final = 0x0503
# The last byte of a TLS 1.2 signature algorithm with ECDSA (RFC 5246 section 7.4.1.4.1).
_ECDSA: Final = 3

# TLS 1.2 cipher suites with ECDHE: AES-GCM (RFC 5289 section 3.2) and ChaCha20 (RFC 7905), then with ECDSA CBC (RFC
# 8422 section 6, RFC 5289 section 3.1) and CCM (RFC 7251).
_ECDSA_AEAD: Final = frozenset((0xC02B, 0xC02C, 0xCCA9))
_RSA_AEAD: Final = frozenset((0xC02F, 0xC030, 0xCCA8))
_ECDSA_OTHER: Final = frozenset((0xC009, 0xC00A, 0xC023, 0xC024, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF))


class MalformedHello(ValueError):
    """The received bytes are not a ClientHello."""


@attrs.frozen
class ClientHello:
    """The parameters that a client offers.

    @ivar key: the kind of certificate key that the client accepts; of several kinds, the first in the order of
        L{LeafKey}.
    @ivar protocols: the application protocols that it offers.
    @ivar server_names: the extension with the server name, which only some callers need; C{None} without one.
    """

    key: LeafKey
    protocols: tuple[bytes, ...]
    server_names: bytes | None = None

    @property
    def server_name(self) -> bytes | None:
        """The name of the server that the client expects (RFC 6066 section 3); C{None} without a readable one."""
        data = self.server_names
        if data is None or len(data) < 5 or data[2] != _HOST_NAME:
            return None
        size = data[3] << 8 | data[4]
        return data[5 : 5 + size] if size and len(data) >= 5 + size else None


UNREADABLE: Final = ClientHello(LeafKey.P256, ())


def read_client_hello(data: bytes) -> ClientHello | None:
    """Parse the first message of a client.

    @param data: all bytes received so far.
    @return: C{None} if more bytes are needed.
    @raise MalformedHello: if the message is not a ClientHello.
    """
    message = _message(data)
    if message is None:
        return None
    # RFC 8446 section 4.1.2: version, random, session id, suites, compression, extensions.  The code is in one
    # function, because each new connection waits for it.
    try:
        at = 35 + message[34]
        begin, at = at + 2, at + 2 + (message[at] << 8 | message[at + 1])
        suites = message[begin:at]
        at += 1 + message[at]
        extensions: dict[int, bytes] = {}
        if at < len(message):
            (size,) = _NUMBER.unpack_from(message, at)
            at += 2
            if at + size > len(message):
                raise MalformedHello
            end = at + size
            while at < end:
                kind, size = _EXTENSION.unpack_from(message, at)
                at += 4 + size
                if at > end:
                    raise MalformedHello
                if kind in _WANTED:
                    extensions[kind] = message[at - size : at]
    except (IndexError, struct.error) as error:
        raise MalformedHello from error
    versions = extensions.get(_VERSIONS)
    key = _key(
        suites,
        _list(extensions.get(_GROUPS)),
        _list(extensions.get(_SIGNATURES)),
        versions is not None and _TLS13 in _numbers(versions[1:]),
    )
    return ClientHello(key, _protocols(extensions.get(_ALPN)), extensions.get(_SERVER_NAME))


def _message(data: bytes) -> bytes | None:
    """Join the message's fragments from its records (RFC 8446 sections 4 and 5.1)."""
    message, at = b"", 0
    for _ in range(_MAX_RECORDS):
        if len(data) < at + 5:
            return None
        if data[at] != _HANDSHAKE:
            raise MalformedHello
        end = at + 5 + (data[at + 3] << 8 | data[at + 4])
        if end == at + 5:
            raise MalformedHello
        message += data[at + 5 : end]
        if message[0:1] not in (b"", b"\x01"):
            raise MalformedHello
        if len(message) >= 4:
            size = 4 + int.from_bytes(message[1:4], "big")
            if size > _MAX_BYTES:
                raise MalformedHello
            if len(message) >= size:
                return message[4:size]
        if end > len(data):
            return None
        at = end
    raise MalformedHello


def _numbers(data: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise MalformedHello
    return struct.unpack(f">{len(data) // 2}H", data)


def _list(extension: bytes | None) -> tuple[int, ...] | None:
    """Parse a list of numbers with a length prefix."""
    if extension is None:
        return None
    if int.from_bytes(extension[:2], "big") != len(extension) - 2:
        raise MalformedHello
    return _numbers(extension[2:])


def _protocols(extension: bytes | None) -> tuple[bytes, ...]:
    protocols = []
    at, end = 2, len(extension or b"")
    while extension is not None and at < end:
        begin, at = at + 1, at + 1 + extension[at]
        if at > end:
            raise MalformedHello
        protocols.append(extension[begin:at])
    return tuple(protocols)


def _key(suites: bytes, groups: tuple[int, ...] | None, signatures: tuple[int, ...] | None, tls13: bool) -> LeafKey:
    """Return the kind of key that a client accepts.

    In TLS 1.3 a signature algorithm names its curve (RFC 8446 section 4.2.3).  In TLS 1.2 the suite selects ECDSA or
    RSA, and the groups must contain the curve (RFC 8422 section 5.1).
    """
    if tls13 and signatures is not None:
        if _ECDSA_P256_SHA256 in signatures:
            return LeafKey.P256
        return LeafKey.P384 if _ECDSA_P384_SHA384 in signatures else LeafKey.RSA
    signs = signatures is None or any(number & 0xFF == _ECDSA for number in signatures)
    offered = _numbers(suites)
    if not signs or (_ECDSA_AEAD.isdisjoint(offered) and _is_rsa_better(offered)):
        return LeafKey.RSA
    if groups is None or _SECP256R1 in groups:
        return LeafKey.P256
    return LeafKey.P384 if _SECP384R1 in groups else LeafKey.RSA


def _is_rsa_better(suites: tuple[int, ...]) -> bool:
    return not _RSA_AEAD.isdisjoint(suites) or _ECDSA_OTHER.isdisjoint(suites)
