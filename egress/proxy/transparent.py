"""The client side of a transparent listener, whose clients do not know that there is a proxy.

The system redirects the connections of clients to the listener.  The destination follows from the name for which a
placeholder address was given out, from the TLS server name, from C{Host}, or is the original address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from egress.http.sniff import TunnelProtocol, detect_protocol
from egress.model.authority import Authority, Origin
from egress.model.errors import (
    BadRequest,
    EgressError,
    InvalidTarget,
    TunnelProtocolUnknown,
    TunnelWithoutRequest,
)
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.factory import ProxyFactory
from egress.proxy.session_state import CLOSED, REQUEST
from egress.proxy.tls_intercept import parse_client_hello
from egress.proxy.transaction import report_refusal
from egress.proxy.tunnel_binding import AddressBinding, Binding, TunnelBinding
from egress.tls.client_hello import ClientHello
from egress.transport.original_destination import original_destination

if TYPE_CHECKING:
    from egress.interfaces import IPlaceholderNames
    from egress.proxy.context import ProxyContext

FindOriginal = Callable[[object], Authority | None]

_METHOD: Final = "CONNECT"


class TransparentSession(HttpSession):
    """A redirected connection.

    The first bytes of the client tell its protocol. TLS and hosts without interception continue as a L{Tunnel}, as
    after a CONNECT. A session with plain HTTP is bound to the destination of the connection.

    @param auth_policy: the policy of the listener, which requires no authentication.
    @param find_original: finds the original destination.
    @param names: the names of placeholder addresses; C{None}: there are none.
    """

    def __init__(
        self,
        context: ProxyContext,
        *,
        auth_policy: ClientAuthPolicy,
        find_original: FindOriginal,
        names: IPlaceholderNames | None,
    ) -> None:
        super().__init__(context, auth_policy=auth_policy)
        self._find_original = find_original
        self._names = names
        self._first: bytes | None = b""
        self._destination: Authority | None = None
        self._is_named = False

    def connectionMade(self) -> None:
        """Find the destination, as far as the connection tells it."""
        super().connectionMade()
        original = self._find_original(self.transport)
        if original is None:
            self._reject_direct()
            return
        name = self._names.name_of(original.host) if self._names is not None else None
        self._destination = original if name is None else Authority(name, original.port)
        self._is_named = name is not None
        if self._context.tunnels.is_passthrough(self._destination):
            self._open_redirected(self._destination)

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

    def _reject_direct(self) -> None:
        """Let the session reject every request."""
        self._first = None
        error = BadRequest(
            "this listener accepts only connections that the system redirects to it; to use the proxy by its address, "
            "connect to a listener without transparent=yes"
        )
        client = self._client_auth.client
        refusal_id = report_refusal(self._context.authz, client, error, "", "")
        # The origin has no effect.
        self._binding = TunnelBinding(Origin.of("http", Authority("invalid", 80)), client, error, refusal_id)

    def _detect(self) -> None:
        assert self._first is not None and self._destination is not None
        protocol = detect_protocol(self._first)
        if protocol is TunnelProtocol.TLS:
            hello = parse_client_hello(self._first)
            if hello is not None:
                self._open_redirected(self._expected_by(hello))
        elif protocol is TunnelProtocol.HTTP:
            self._begin_http()
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
        assert self._first is not None and self._destination is not None
        origin, client = Origin.of("http", self._destination), self._client_auth.client
        binding: Binding = TunnelBinding(origin, client) if self._is_named else AddressBinding(origin, client)
        self._binding = binding
        first, self._first = self._first, None
        super().dataReceived(first)

    def _open_redirected(self, authority: Authority) -> None:
        """Continue as a tunnel."""
        first, self._first = self._first or b"", None
        self._used = True
        try:
            tunnel = Tunnel(self._context, self, authority, self._client_auth.client, established=b"")
        except EgressError as error:
            self._stop(error, authority)
            return
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
        report_refusal(self._context.authz, self._client_auth.client, error, _METHOD, url)
        self.abort()


class TransparentFactory(ProxyFactory):
    """Creates a session for each redirected connection, within the connection limits.

    @param names: the names of placeholder addresses.
    @param find_original: finds the original destination of a connection.
    """

    def __init__(
        self,
        context: ProxyContext,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        names: IPlaceholderNames | None = None,
        find_original: FindOriginal = original_destination,
    ) -> None:
        super().__init__(context, auth_policy)
        self._names = names
        self._find_original = find_original

    def new_session(self) -> HttpSession:
        """Create the session of a connection."""
        return TransparentSession(
            self._context, auth_policy=self._auth_policy, find_original=self._find_original, names=self._names
        )
