"""The client side of a listener for HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.http.sniff import starts_http2
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.http2_proxy_requests import proxy_session
from egress.proxy.interfaces import IClientConnection, ITunnel
from egress.proxy.session_state import CLOSED, REQUEST
from egress.tls.host_contexts import HTTP2
from egress.transport.tcp import SharedTransport

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.http2_session import Http2Session
    from egress.proxy.interfaces import TunnelOpener
    from egress.proxy.revocations import Cutoff


class Http2Inside:
    """The HTTP/2 session to which a connection is handed over.

    @param outer: the session that received the first bytes.
    @param session: the HTTP/2 session.
    """

    def __init__(self, outer: IClientConnection, session: Http2Session) -> None:
        self._outer = outer
        self._session = session

    def begin(self, buffered: bytes) -> None:
        """See L{ITunnel.begin}."""
        self._outer.unwatch()
        self._session.makeConnection(SharedTransport(self._outer.transport))  # type: ignore[arg-type]
        if buffered:
            self._session.dataReceived(buffered)

    def dataReceived(self, data: bytes) -> None:
        """See L{ITunnel.dataReceived}."""
        self._session.dataReceived(data)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data."""
        self._session.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Handle that all written data was sent."""
        self._session.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{ITunnel.connectionLost}."""
        self._session.connectionLost(reason)

    def pauseProducing(self) -> None:
        """Stop producing: the client reads too slowly."""
        self._session.pauseProducing()

    def resumeProducing(self) -> None:
        """Produce again: the client reads again."""
        self._session.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and L{connectionLost} follows."""

    def expired(self) -> None:
        """Do nothing: the session has its own timeouts."""

    def revoke(self, cutoff: Cutoff) -> None:
        """Do nothing: the session is registered itself."""


# The decorator C{implementer} would make it an interpreted class.
classImplements(Http2Inside, ITunnel, IPushProducer)


class ListenerSession(HttpSession):
    """A connection to a listener.

    The client selects HTTP/2 in the TLS handshake, or begins with its preface where the listener permits that.

    @param auth_policy: the client authentication of the listener.
    @param open_tunnel: creates the tunnel of a CONNECT over HTTP/1.1.
    @param h2c: whether clients can use HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3).
    """

    def __init__(
        self,
        context: ProxyContext,
        *,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        open_tunnel: TunnelOpener | None = None,
        h2c: bool = False,
    ) -> None:
        super().__init__(context, auth_policy=auth_policy, open_tunnel=open_tunnel)
        self._auth_policy = auth_policy
        # The first bytes, while they may be the preface; None where they cannot.
        self._preface: bytes | None = b"" if h2c else None

    def handshakeCompleted(self) -> None:
        """Continue with HTTP/2, if the client has selected it."""
        if self.transport.negotiatedProtocol == HTTP2:
            self._begin_proxy_session(b"")

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client."""
        if self._preface is None or self._state in CLOSED:
            super().dataReceived(data)
            return
        first = self._preface + data
        found = starts_http2(first)
        self._preface = first if found is None else None
        if found:
            self._begin_proxy_session(first)
        elif found is False:
            super().dataReceived(first)

    def _begin_proxy_session(self, first: bytes) -> None:
        identity = self._client_auth.connection
        self._begin_http2(proxy_session(self._context, self._auth_policy, identity, self.transport), first)

    def _begin_http2(self, session: Http2Session, first: bytes) -> None:
        """Hand the connection over to an HTTP/2 session.

        @param first: the data that was received.
        """
        self._used = True
        self._enter(REQUEST)
        self._begin(Http2Inside(self, session), first)

    def _expired(self) -> None:
        first, self._preface = self._preface, None
        if first and self._state not in CLOSED:
            # It is the beginning of a request, too.
            super().dataReceived(first)
        super()._expired()
