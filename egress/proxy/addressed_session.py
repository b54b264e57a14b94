"""A client session whose destination is an address, and whose first bytes tell the name behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from egress.http.sniff import TunnelProtocol, detect_protocol
from egress.model.authority import Authority, Origin
from egress.model.errors import EgressError, InvalidTarget, TunnelProtocolUnknown, TunnelWithoutRequest
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.http2_requests import bound_session
from egress.proxy.listener_session import ListenerSession
from egress.proxy.session_refusal import report_refusal
from egress.proxy.session_state import CLOSED, REQUEST
from egress.proxy.tls_intercept import parse_client_hello
from egress.proxy.tunnel_binding import AddressBinding, Binding, TunnelBinding
from egress.proxy.tunnel_replies import NO_REPLIES, TunnelReplies
from egress.tls.client_hello import ClientHello

if TYPE_CHECKING:
    from egress.proxy.client_auth import ClientAuthPolicy
    from egress.proxy.context import ProxyContext
    from egress.proxy.interfaces import TunnelOpener

METHOD: Final = "CONNECT"


class AddressedSession(ListenerSession):
    """A connection to an address.

    The first bytes of the client tell its protocol. TLS and hosts without interception continue as a L{Tunnel}, as
    after a CONNECT. A session with plain HTTP is bound to the destination of the connection.

    @param auth_policy: the client authentication of the listener.
    @param open_tunnel: creates the tunnel of a CONNECT, if the listener accepts one.
    @param h2c: see L{ListenerSession}.
    """

    def __init__(
        self,
        context: ProxyContext,
        *,
        auth_policy: ClientAuthPolicy,
        open_tunnel: TunnelOpener | None = None,
        h2c: bool = False,
    ) -> None:
        super().__init__(context, auth_policy=auth_policy, open_tunnel=open_tunnel, h2c=h2c)
        # The first bytes; None while the session does not wait for them.
        self._first: bytes | None = None
        self._destination: Authority | None = None
        self._is_named = False

    def _wait_for_first(self, destination: Authority, *, is_named: bool = False) -> None:
        """Wait for the first bytes.

        @param destination: the destination of the connection.
        @param is_named: whether its host is the name for which the client got a placeholder address.
        """
        self._first, self._destination, self._is_named = b"", destination, is_named

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client; the first ones tell its protocol."""
        if self._first is None or self._state in CLOSED:
            super().dataReceived(data)
        else:
            self._first += data
            self._detect()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the client connection."""
        self._first = None
        super().connectionLost(reason)

    def _detect(self) -> None:
        assert self._first is not None and self._destination is not None
        protocol = detect_protocol(self._first, http2=self._context.tunnels.http2)
        if protocol is TunnelProtocol.TLS:
            hello = parse_client_hello(self._first)
            if hello is not None:
                self._open_redirected(self._expected_by(hello))
        elif protocol is TunnelProtocol.HTTP:
            self._begin_http()
        elif protocol is TunnelProtocol.HTTP2:
            binding, first = self._bind()
            self._begin_http2(bound_session(self._context, binding), first)
        elif protocol is TunnelProtocol.UNKNOWN:
            self._stop(
                TunnelProtocolUnknown(
                    f"the connection to {self._destination} carries neither TLS nor HTTP; "
                    "--opaque-ports relays other protocols"
                )
            )

    def _expected_by(self, hello: ClientHello) -> Authority:
        """Return the authority that a client expects.

        A server name replaces an address, because the proxy resolves it itself.  It does not replace the name for which
        the client got a placeholder address: the handshake compares the two.
        """
        assert self._destination is not None
        name = hello.server_name
        if name is None or self._is_named:
            return self._destination
        try:
            return Authority.parse(f"{name.decode('latin-1')}:{self._destination.port}")
        except InvalidTarget:
            # The handshake compares the name with the address, and each request gets the difference as its response.
            return self._destination

    def _begin_http(self) -> None:
        self._binding, first = self._bind()
        super().dataReceived(first)

    def _bind(self) -> tuple[Binding, bytes]:
        """Bind requests without TLS to the destination; return the binding and the first bytes."""
        assert self._first is not None and self._destination is not None
        # The first bytes were examined.
        first, self._first, self._preface = self._first, None, None
        origin, client = Origin.of("http", self._destination), self._client_auth.client
        return TunnelBinding(origin, client) if self._is_named else AddressBinding(origin, client), first

    def _open_redirected(self, authority: Authority) -> None:
        """Continue as a tunnel, without a response to the client."""
        first, self._first = self._first or b"", None
        try:
            self._open(authority, first, NO_REPLIES)
        except EgressError as error:
            self._stop(error, authority)

    def _open(self, authority: Authority, first: bytes, replies: TunnelReplies) -> None:
        """Continue as a tunnel.

        @raise CertificateNotPermitted: see L{Tunnel}.
        """
        tunnel = Tunnel(self._context, self, authority, self._client_auth.client, replies=replies)
        self._used = True
        self._enter(REQUEST)
        self._begin(tunnel, first)

    def _expired(self) -> None:
        if self._first is None or self._state in CLOSED:
            super()._expired()
        else:
            self._stop(
                TunnelWithoutRequest(
                    f"the client sent no request to {self._destination} in time; protocols in which the server sends "
                    "first need --opaque-ports"
                )
            )

    def _stop(self, error: EgressError, authority: Authority | None = None) -> None:
        """Record an error that the client cannot read, and abort the connection."""
        self._first, self._used = None, True
        url = str(authority or self._destination or "")
        report_refusal(self._context.authz, self._client_auth.client, error, METHOD, url)
        self.abort()
