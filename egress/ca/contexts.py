"""TLS towards clients: one server context for each intercepted host, with its leaf certificate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Final

import attrs
from OpenSSL import SSL
from zope.interface import implementer

from egress.ca.issuer import CertificateAuthority, LeafCertificate
from egress.ca.tls_context import tls_context
from egress.interfaces import ILeafSource
from egress.model.authority import Authority

HTTP1: Final = b"http/1.1"

# TLS 1.2 with forward secrecy and AEAD alone (RFC 9325 section 4.2); TLS 1.3 has nothing else.
CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"

# How much of a leaf's remaining life is used before the next one is made: what is handed out must last for a session.
_USED: Final = 6 / 7


def server_context(leaf: LeafCertificate) -> SSL.Context:
    """Make the context under which one leaf certificate is served."""
    context = tls_context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(CIPHERS)
    context.use_certificate(leaf.certificate)
    for certificate in leaf.chain:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(leaf.key)
    # A client that offers others alone, as some do by habit, is not turned away: it is answered without ALPN.
    context.set_alpn_select_callback(lambda _, offered: HTTP1 if HTTP1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    return context


@attrs.frozen
class _Entry:
    """A context, and the time in which it may be handed out, in seconds since the epoch."""

    context: SSL.Context
    begin: float
    end: float


@implementer(ILeafSource)
class LeafContexts:
    """Keeps the contexts of the hosts that were used last.

    @param authority: signs the leaf certificates.
    @param capacity: how many contexts are kept, at some 22 KiB each.
    @param wall_clock: gives seconds since the epoch.
    """

    def __init__(self, authority: CertificateAuthority, capacity: int, wall_clock: Callable[[], float]) -> None:
        self._authority = authority
        self._capacity = capacity
        self._wall_clock = wall_clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

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

    def context_for(self, authority: Authority) -> SSL.Context:
        """Give the context for a host; see L{ILeafSource.context_for}.

        @raise egress.ca.issuer.CaError: when the CA is no longer valid.
        """
        now = self._wall_clock()
        entry = self._entries.get(authority.host)
        # The beginning matters after a clock was set back.
        if entry is None or not entry.begin <= now < entry.end:
            entry = self._entries[authority.host] = self._make(authority, now)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        self._entries.move_to_end(authority.host)
        return entry.context

    def _make(self, authority: Authority, now: float) -> _Entry:
        leaf = self._authority.issue(authority, datetime.fromtimestamp(now, timezone.utc))
        certificate = leaf.certificate
        end = certificate.not_valid_after_utc.timestamp()
        return _Entry(server_context(leaf), certificate.not_valid_before_utc.timestamp(), now + (end - now) * _USED)
