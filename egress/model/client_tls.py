"""How the proxy speaks TLS with clients: which suites it accepts, and under which kind of key it answers."""

from __future__ import annotations

import enum


class ClientTls(enum.Enum):
    """What is accepted in TLS 1.2; TLS 1.3 has nothing weak to leave out.

    @cvar MODERN: forward secrecy and AEAD alone (RFC 9325 section 4.2).
    @cvar COMPATIBLE: CBC and CCM suites, too, for clients that have no others.
    """

    MODERN = "modern"
    COMPATIBLE = "compatible"


class LeafKey(enum.Enum):
    """The key of a leaf certificate.

    @cvar P256: what nearly all clients accept, and the cheapest.
    @cvar P384: for clients that accept ECDSA with this curve alone.
    @cvar RSA: for clients that accept no ECDSA.
    """

    P256 = "ECDSA P-256"
    P384 = "ECDSA P-384"
    RSA = "RSA 2048"
