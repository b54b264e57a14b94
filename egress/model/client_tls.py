"""The TLS settings for connections from clients: the accepted cipher suites and the key type of leaf certificates."""

from __future__ import annotations

import enum


class ClientTls(enum.Enum):
    """The cipher suites that the proxy accepts in TLS 1.2; TLS 1.3 has no weak suites to exclude.

    @cvar MODERN: only forward secrecy and AEAD (RFC 9325 section 4.2).
    @cvar COMPATIBLE: also CBC and CCM suites, for clients that support no others.
    """

    MODERN = "modern"
    COMPATIBLE = "compatible"


class LeafKey(enum.Enum):
    """The key type of a leaf certificate.

    @cvar P256: accepted by nearly all clients, and the cheapest.
    @cvar P384: for clients that accept only this curve for ECDSA.
    @cvar RSA: for clients that do not accept ECDSA.
    """

    P256 = "ECDSA P-256"
    P384 = "ECDSA P-384"
    RSA = "RSA 2048"
