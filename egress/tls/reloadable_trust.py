"""Certificate verification whose trust settings can be replaced by a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.errors import OriginError
from egress.model.protocol import ALPN_HTTP_1
from egress.tls.origin_trust import OriginTls, OriginTrust

# A server without HTTP/1.1 reports an error, instead of using another protocol (RFC 7301 section 3.2).
ONLY_HTTP_1: Final = (ALPN_HTTP_1,)


@implementer(IOpenSSLClientConnectionCreator)
class ReloadableTls:
    """Starts TLS sessions with one authority; each is verified with the trust settings of that time."""

    def __init__(self, current: ReloadableTrust, authority: Authority, alpn: Sequence[bytes]) -> None:
        self._current = current
        self._authority = authority
        self._alpn = alpn

    def _tls(self) -> OriginTls:
        return self._current.trust.connection_creator(self._authority, self._alpn)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See C{IOpenSSLClientConnectionCreator}."""
        return self._tls().clientConnectionForTLS(tlsProtocol)

    def explain(self, failure: Failure) -> OriginError:
        """Convert the failure of a handshake to an error; see L{OriginTls.explain}."""
        return self._tls().explain(failure)


class ReloadableTrust:
    """Trust settings that can be replaced.

    @ivar trust: the current trust settings.
    """

    def __init__(self, trust: OriginTrust) -> None:
        self.trust = trust

    def replace(self, trust: OriginTrust) -> None:
        """Use other trust settings from now on."""
        self.trust = trust

    def connection_creator(self, authority: Authority, alpn: Sequence[bytes] = ONLY_HTTP_1) -> ReloadableTls:
        """Return the creator of TLS sessions with one authority; it remains usable after a reload.

        @param authority: the host and port of the server.
        @param alpn: the application protocols to offer; see L{OriginTrust.connection_creator}.
        """
        return ReloadableTls(self, authority, alpn)
