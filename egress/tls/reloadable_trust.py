"""Whom to trust now, which may be others later."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.errors import OriginError
from egress.tls.origin_trust import OriginTls, OriginTrust

# One that speaks nothing of it says so, instead of answering in another protocol (RFC 7301 section 3.2).
_ALPN: Final = (b"http/1.1",)


@implementer(IOpenSSLClientConnectionCreator)
class ReloadableTls:
    """Begins TLS sessions with one authority, each verified as the trust is at that time."""

    def __init__(self, current: ReloadableTrust, authority: Authority) -> None:
        self._current = current
        self._authority = authority

    def _tls(self) -> OriginTls:
        return self._current.trust.connection_creator(self._authority, _ALPN)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See L{IOpenSSLClientConnectionCreator}."""
        return self._tls().clientConnectionForTLS(tlsProtocol)

    def explain(self, failure: Failure) -> OriginError:
        """Put a failed handshake into words; see L{OriginTls.explain}."""
        return self._tls().explain(failure)


class ReloadableTrust:
    """The trust in use, in place of which another can be used.

    @ivar trust: the one that counts now.
    """

    def __init__(self, trust: OriginTrust) -> None:
        self.trust = trust

    def replace(self, trust: OriginTrust) -> None:
        """Judge by another trust from now on."""
        self.trust = trust

    def connection_creator(self, authority: Authority) -> ReloadableTls:
        """Give what begins TLS sessions with one authority, for as long as it is wanted."""
        return ReloadableTls(self, authority)
