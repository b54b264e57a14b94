"""TLS towards clients: one server context for each intercepted host, with its leaf certificate."""

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
from egress.tls.contexts import tls_context
from egress.tls.issuer import CaKey, CertificateAuthority, LeafCertificate
from egress.tls.lazy_key import LazyKey

HTTP1: Final = b"http/1.1"

# For TLS 1.2; TLS 1.3 has forward secrecy and AEAD alone.  In the order of preference.
CIPHERS: Final = {
    ClientTls.MODERN: b"ECDHE+AESGCM:ECDHE+CHACHA20",
    ClientTls.COMPATIBLE: b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:ECDHE+AES",
}
# CCM is the one suite of TLS 1.3 that OpenSSL leaves out unless it is asked for (RFC 8446 appendix B.4).
_TLS13_CCM: Final = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256"

# How much of a leaf's remaining life is used before the next one is made: what is handed out must last for a session.
_USED: Final = 6 / 7


def set_ciphers(context: SSL.Context, accepted: ClientTls) -> None:
    """Set which suites a server context accepts."""
    context.set_cipher_list(CIPHERS[accepted])
    if accepted is ClientTls.COMPATIBLE and hasattr(context, "set_tls13_ciphersuites"):
        # Older pyOpenSSL has no way to say so.
        context.set_tls13_ciphersuites(_TLS13_CCM)


def server_context(leaf: LeafCertificate, accepted: ClientTls = ClientTls.MODERN) -> SSL.Context:
    """Make the context under which one leaf certificate is served."""
    context = tls_context(SSL.TLS_SERVER_METHOD)
    set_ciphers(context, accepted)
    context.use_certificate(leaf.certificate)
    for certificate in leaf.chain:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(leaf.key)
    # A client that offers others alone, as some do by habit, is not turned away: it is answered without ALPN.
    context.set_alpn_select_callback(lambda _, offered: HTTP1 if HTTP1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    return context


def _new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@attrs.frozen
class _Entry:
    """A context, and the time in which it may be handed out, in seconds since the epoch."""

    context: SSL.Context
    begin: float
    end: float


@implementer(ILeafSource)
class HostContexts:
    """Keeps the contexts of the hosts that were used last.

    @param authority: signs the leaf certificates.
    @param capacity: how many contexts are kept, at some 22 KiB each.
    @param wall_clock: gives seconds since the epoch.
    @param in_thread: runs what makes the RSA key.
    @param accepted: which suites.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        capacity: int,
        wall_clock: Callable[[], float],
        in_thread: Offload,
        accepted: ClientTls = ClientTls.MODERN,
    ) -> None:
        self._accepted = accepted
        # Few clients need it, and it takes tens of milliseconds to make.
        self._rsa_key = LazyKey(_new_rsa_key, in_thread)
        self._p384_key: ec.EllipticCurvePrivateKey | None = None
        self._authority = authority
        self._capacity = capacity
        self._wall_clock = wall_clock
        self._entries: OrderedDict[tuple[str, LeafKey], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def follow(self, authority: CertificateAuthority) -> None:
        """Have another CA sign from now on.  Sessions that are open keep what they have."""
        self._authority = authority
        self._entries.clear()

    def refusal(self, authority: Authority) -> str | None:
        """Say whether there can be a certificate for a host; see L{ILeafSource.refusal}."""
        if self._authority.may_sign_for(authority):
            return None
        return f"the proxy's CA may not sign for {authority.host}: its name constraints permit {self._authority.limits}"

    def prepared(self, key: LeafKey) -> Deferred[Any]:
        """Wait until there is a key of a kind; see L{ILeafSource.prepared}."""
        return self._rsa_key.get() if key is LeafKey.RSA else succeed(key)

    def context_for(self, authority: Authority, key: LeafKey = LeafKey.P256) -> SSL.Context:
        """Give the context for a host; see L{ILeafSource.context_for}.

        Only the kinds that clients of this host have needed take room, each as much as another host.

        @raise egress.tls.issuer.CaError: when the CA is no longer valid.
        """
        now = self._wall_clock()
        name = (authority.host, key)
        entry = self._entries.get(name)
        # The beginning matters after a clock was set back.
        if entry is None or not entry.begin <= now < entry.end:
            entry = self._entries[name] = self._make(authority, now, key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        self._entries.move_to_end(name)
        return entry.context

    def _key_of(self, key: LeafKey) -> CaKey | None:
        if key is LeafKey.P256:
            # That of the CA, which rotates with it.
            return None
        if key is LeafKey.P384:
            self._p384_key = self._p384_key or ec.generate_private_key(ec.SECP384R1())
            return self._p384_key
        if self._rsa_key.key is None:
            raise AssertionError("nobody waited for the RSA key")
        return self._rsa_key.key

    def _make(self, authority: Authority, now: float, key: LeafKey) -> _Entry:
        leaf = self._authority.issue(authority, datetime.fromtimestamp(now, timezone.utc), self._key_of(key))
        certificate = leaf.certificate
        end = certificate.not_valid_after_utc.timestamp()
        return _Entry(
            server_context(leaf, self._accepted),
            certificate.not_valid_before_utc.timestamp(),
            now + (end - now) * _USED,
        )
