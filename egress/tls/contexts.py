"""The settings that the TLS contexts for clients and origins share."""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

# Old releases of pyOpenSSL do not define this option.
_NO_RENEGOTIATION: Final[int] = getattr(SSL, "OP_NO_RENEGOTIATION", 0)
# From <openssl/ssl.h>; pyOpenSSL does not define it, but each release turns it on.
_PARTIAL_WRITE: Final = 1


def tls_context(method: int) -> SSL.Context:
    """Create a context for TLS 1.2 and later, without insecure features and with low memory use.

    @param method: C{SSL.TLS_SERVER_METHOD} or C{SSL.TLS_CLIENT_METHOD}.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    # After a renegotiation the peer could have another certificate than the verified one.
    context.set_options(SSL.OP_NO_COMPRESSION | _NO_RENEGOTIATION)
    # There are many idle connections, and their buffers are the larger part of their memory.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if hasattr(context, "clear_mode"):
        # One call encrypts all its data instead of one record of 16 KiB; a memory BIO accepts any amount.
        context.clear_mode(_PARTIAL_WRITE)
    # Client sessions resume by ticket, under keys of one context, so no session can be resumed for another host
    # (decision 17).
    # Origin sessions are never resumed, because a resumed session is not verified.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


class LoadedKey:
    """A key that OpenSSL has loaded once, for many contexts: pyOpenSSL loads it for each of them, which takes 50 us."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self.key = key
        self._loaded = crypto.PKey.from_cryptography_key(key)

    def use_in(self, context: SSL.Context) -> None:
        """Set the key of a context, whose certificate is set already.

        @raise SSL.Error: if it is not the key of the certificate.
        """
        # The method of pyOpenSSL for this is deprecated, and calls the same function of OpenSSL.
        bindings: Any = getattr(SSL, "_lib", None)
        use: Any = getattr(bindings, "SSL_CTX_use_PrivateKey", None)
        inner: tuple[Any, Any] = getattr(context, "_context", None), getattr(self._loaded, "_pkey", None)
        if use is None or None in inner or use(*inner) != 1:
            # With an error of pyOpenSSL, if there is one.
            context.use_privatekey(self.key)
