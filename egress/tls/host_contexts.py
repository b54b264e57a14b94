"""TLS towards clients: a server context with a leaf certificate for each intercepted host."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Final

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from egress.interfaces import ILeafSource
from egress.model.authority import Authority
from egress.model.client_tls import ClientTls, LeafKey
from egress.runtime.threads import Offload
from egress.tls.contexts import LoadedKey, tls_context, use_certificate
from egress.tls.issuer import CertificateAuthority, LeafCertificate
from egress.tls.lazy_key import LazyKey
from egress.tls.leaf_template import CaKey

HTTP1: Final = b"http/1.1"
HTTP2: Final = b"h2"

# For TLS 1.2, in the order of preference; TLS 1.3 has only suites with forward secrecy and AEAD.
CIPHERS: Final = {
    ClientTls.MODERN: b"ECDHE+AESGCM:ECDHE+CHACHA20",
    ClientTls.COMPATIBLE: b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:ECDHE+AES",
}
# OpenSSL does not enable the CCM suite of TLS 1.3 by default (RFC 8446 appendix B.4).
_TLS13_CCM: Final = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256"

# The part of a leaf's lifetime after which it is replaced, so that a served certificate outlasts the session.
_USED: Final = 6 / 7


def set_ciphers(context: SSL.Context, accepted: ClientTls) -> None:
    """Set the cipher suites that a server context accepts."""
    context.set_cipher_list(CIPHERS[accepted])
    if accepted is ClientTls.COMPATIBLE and hasattr(context, "set_tls13_ciphersuites"):
        # Older releases of pyOpenSSL do not support this.
        context.set_tls13_ciphersuites(_TLS13_CCM)


def select_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    """Select the application protocol of a connection with a client (RFC 7301 section 3.2).

    Some clients offer only other protocols by default; they are not rejected: they get a response without ALPN.
    """
    return HTTP2 if HTTP2 in offered else select_http1(_, offered)


def select_http1(_: SSL.Connection, offered: list[bytes]) -> Any:
    """Select the application protocol of a connection without HTTP/2; see L{select_protocol}."""
    return HTTP1 if HTTP1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def server_context(
    leaf: LeafCertificate, key: LoadedKey, accepted: ClientTls = ClientTls.MODERN, *, http2: bool = True
) -> SSL.Context:
    """Create the context that serves one leaf certificate.

    @param leaf: the certificate.
    @param key: its key.
    @param accepted: the accepted cipher suites.
    @param http2: whether clients can select HTTP/2.
    """
    context = tls_context(SSL.TLS_SERVER_METHOD)
    set_ciphers(context, accepted)
    use_certificate(context, leaf.der)
    for certificate in leaf.chain:
        context.add_extra_chain_cert(certificate)
    key.use_in(context)
    context.set_alpn_select_callback(select_protocol if http2 else select_http1)
    return context


def new_rsa_key() -> rsa.RSAPrivateKey:
    """Generate a key for RSA leaf certificates."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@attrs.frozen
class _Entry:
    """A context with its validity period, in seconds since the epoch."""

    context: SSL.Context
    begin: float
    end: float


@implementer(ILeafSource)
class HostContexts:
    """Caches the contexts of the most recently used hosts.

    @param authority: signs the leaf certificates.
    @param capacity: the maximum number of cached contexts, each about 22 KiB.
    @param wall_clock: returns seconds since the epoch.
    @param in_thread: runs the function that generates the RSA key.
    @param accepted: the accepted cipher suites.
    @param make_rsa_key: generates the RSA key.
    @param http2: whether clients can select HTTP/2.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        capacity: int,
        wall_clock: Callable[[], float],
        in_thread: Offload,
        *,
        accepted: ClientTls = ClientTls.MODERN,
        make_rsa_key: Callable[[], rsa.RSAPrivateKey] = new_rsa_key,
        http2: bool = True,
    ) -> None:
        self._accepted = accepted
        self._http2 = http2
        # Few clients need an RSA key, and its generation takes tens of milliseconds.
        self._rsa_key = LazyKey(make_rsa_key, in_thread)
        self._p384_key: ec.EllipticCurvePrivateKey | None = None
        self._authority = authority
        self._capacity = capacity
        self._wall_clock = wall_clock
        self._entries: OrderedDict[tuple[str, LeafKey], _Entry] = OrderedDict()
        self._loaded: dict[LeafKey, LoadedKey] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def follow(self, authority: CertificateAuthority) -> None:
        """Let another CA sign from now on.  Open sessions are not affected."""
        self._authority = authority
        self._entries.clear()
        self._loaded.clear()

    def refusal(self, authority: Authority) -> str | None:
        """Explain why no certificate for a host is possible, if so; see L{ILeafSource.refusal}."""
        if self._authority.may_sign_for(authority):
            return None
        return f"the proxy's CA may not sign for {authority.host}: its name constraints permit {self._authority.limits}"

    def prepared(self, key: LeafKey) -> Deferred[Any]:
        """Wait until a key of a kind is available; see L{ILeafSource.prepared}."""
        return self._rsa_key.get() if key is LeafKey.RSA else succeed(key)

    def context_for(self, authority: Authority, key: LeafKey = LeafKey.P256) -> SSL.Context:
        """Return the context for a host; see L{ILeafSource.context_for}.

        A host has one cache entry for each kind of key that its clients have used.

        @raise egress.tls.issuer.CaError: if the CA is no longer valid.
        """
        now = self._wall_clock()
        name = (authority.host, key)
        entry = self._entries.get(name)
        # The check of the start time matters if the clock was set back.
        if entry is None or not entry.begin <= now < entry.end:
            entry = self._entries[name] = self._make(authority, now, key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        self._entries.move_to_end(name)
        return entry.context

    def _key_of(self, key: LeafKey) -> CaKey | None:
        if key is LeafKey.P256:
            # The CA's own P-256 leaf key, which changes with the CA.
            return None
        if key is LeafKey.P384:
            self._p384_key = self._p384_key or ec.generate_private_key(ec.SECP384R1())
            return self._p384_key
        if self._rsa_key.key is None:
            raise AssertionError("the RSA key is not available yet")
        return self._rsa_key.key

    def _make(self, authority: Authority, now: float, key: LeafKey) -> _Entry:
        leaf = self._authority.issue(authority, datetime.fromtimestamp(now, timezone.utc), self._key_of(key))
        loaded = self._loaded.get(key)
        if loaded is None:
            loaded = self._loaded[key] = LoadedKey(leaf.key)
        end = leaf.end.timestamp()
        return _Entry(
            server_context(leaf, loaded, self._accepted, http2=self._http2),
            leaf.begin.timestamp(),
            now + (end - now) * _USED,
        )
