"""The settings that the TLS contexts for clients and origins share."""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509
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


def use_certificate(context: SSL.Context, der: bytes) -> None:
    """Set the certificate of a context.

    The method of pyOpenSSL accepts only an object of cryptography, and encodes it for OpenSSL.

    @param der: the certificate in DER.
    """
    loaded: Any = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    if not _call("SSL_CTX_use_certificate", context, getattr(loaded, "_x509", None)):
        # With an error of pyOpenSSL, if there is one.
        context.use_certificate(x509.load_der_x509_certificate(der))


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
        if not _call("SSL_CTX_use_PrivateKey", context, getattr(self._loaded, "_pkey", None)):
            # With an error of pyOpenSSL, if there is one.
            context.use_privatekey(self.key)


def _call(name: str, context: SSL.Context, argument: Any) -> bool:
    """Call a function of OpenSSL for a context, if this release of pyOpenSSL has the bindings for it.

    @return: whether it succeeded.
    """
    bindings: Any = getattr(SSL, "_lib", None)
    function: Any = getattr(bindings, name, None)
    inner: Any = getattr(context, "_context", None)
    return None not in (function, inner, argument) and function(inner, argument) == 1
