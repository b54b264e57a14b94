"""The client side of a listener that also accepts SOCKS5 (RFC 1928, RFC 1929).

The first byte of a connection tells SOCKS from HTTP: neither a request nor a TLS handshake begins with the byte 5. A
connection to a name continues as after a CONNECT. For a connection to an address, the client may have resolved the name
itself, so the first bytes tell the name, as on a transparent listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egress.http.events import HTTP_1_1, NO_BODY, RequestHead
from egress.model.authority import Authority
from egress.model.errors import (
    ClientAuthRequired,
    ClientCredentialsRejected,
    EgressError,
    RequestTimeout,
    UnsupportedRequest,
)
from egress.proxy.addressed_session import METHOD, AddressedSession
from egress.proxy.client_auth import ANONYMOUS, ClientAuthentication, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.factory import ProxyFactory
from egress.proxy.session_refusal import report_refusal
from egress.proxy.session_state import CLOSED
from egress.proxy.tunnel_replies import SOCKS_REPLIES
from egress.socks import codes
from egress.socks.requests import (
    Connect,
    Greeting,
    InvalidSocks,
    Login,
    SocksReader,
    login_status,
    no_method,
    reply_to,
    selected,
)

if TYPE_CHECKING:
    from egress.interfaces import IPlaceholderNames
    from egress.proxy.context import ProxyContext
    from egress.proxy.http2_session import Http2Session

_FIRST_BYTES: Final = (codes.VERSION, codes.VERSION_4)


class SocksSession(AddressedSession):
    """A connection of a client that speaks SOCKS5 or HTTP.

    @param auth_policy: the client authentication of the listener.
    @param names: the names of placeholder addresses; C{None}: there are none.
    @param h2c: see L{egress.proxy.listener_session.ListenerSession}.
    """

    def __init__(
        self,
        context: ProxyContext,
        *,
        auth_policy: ClientAuthPolicy,
        names: IPlaceholderNames | None,
        h2c: bool = False,
    ) -> None:
        super().__init__(context, auth_policy=auth_policy, open_tunnel=Tunnel, h2c=h2c)
        self._names = names
        self._negotiating = True
        # None until the first byte tells that the client speaks SOCKS.
        self._socks: SocksReader | None = None
        self._logged_in = self._checking = False
        self._requested: Authority | None = None

    def dataReceived(self, data: bytes) -> None:
        """Process bytes from the client."""
        if not self._negotiating or self._state in CLOSED:
            super().dataReceived(data)
            return
        if self._socks is None:
            if data[0] not in _FIRST_BYTES:
                self._negotiating = False
                super().dataReceived(data)
                return
            self._socks = SocksReader()
        self._socks.receive(data)
        self.advance()

    def _begin_http2(self, session: Http2Session, first: bytes) -> None:
        # A client that has selected HTTP/2 in the TLS handshake does not use SOCKS.
        self._negotiating = False
        super()._begin_http2(session, first)

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data."""
        if self._negotiating and self._socks is not None and not self._checking:
            self._client_ended = True
            self.close()
        else:
            super().readConnectionLost()

    def advance(self) -> None:
        """Process buffered messages."""
        if not self._negotiating:
            super().advance()
            return
        while self._negotiating and self._socks is not None and not self._checking and self._state not in CLOSED:
            try:
                message = self._socks.next_message()
            except InvalidSocks as error:
                self._reject(error.error, error.response)
                return
            if message is None:
                if self._client_ended:
                    self.close()
                return
            if isinstance(message, Greeting):
                self._select_method(message.methods)
            elif isinstance(message, Login):
                self._log_in(message)
            else:
                self._request(message)

    def _select_method(self, methods: frozenset[int]) -> None:
        assert self._socks is not None
        required = self._auth_policy.authenticator is not None
        # As with HTTP, a name labels the client even where nothing verifies it.
        wanted = required or self._auth_policy.allow_unverified_names or codes.NO_AUTHENTICATION not in methods
        if codes.LOGIN in methods and wanted:
            self.write(selected(codes.LOGIN))
            self._socks.expect_login()
        elif required:
            error = (
                "this proxy requires authentication: send a user name and a password, as in socks5h://NAME:PASSWORD@"
            )
            self._reject(ClientAuthRequired(error), no_method())
        elif codes.NO_AUTHENTICATION in methods:
            self.write(selected(codes.NO_AUTHENTICATION))
            self._socks.expect_request()
        else:
            error = "the client supports neither no authentication nor a user name and a password"
            self._reject(UnsupportedRequest(error), no_method())

    def _log_in(self, message: Login) -> None:
        credentials = message.credentials
        if credentials is None:
            self._reject(ClientCredentialsRejected("the name of a client contains no colon"), login_status(False))
        else:
            self._admit(_head(credentials, ""))

    def _request(self, message: Connect) -> None:
        self._requested = message.authority
        if self._logged_in:
            self._connect_to(message.authority)
        else:
            self._admit(_head(None, str(message.authority)))

    def _admit(self, head: RequestHead) -> None:
        self._checking = True
        self.watch(None)
        self._client_auth.admit(head)
        if self._checking:
            self.pause_reading()

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """Continue after client authentication, which failed if there is a C{refusal}."""
        if not self._negotiating:
            super().admitted(head, refusal)
            return
        self._checking = False
        if self._state in CLOSED or self._socks is None:
            return
        requested = self._requested
        self.watch(self._context.limits.head_timeout)
        if refusal is not None:
            response = login_status(False) if requested is None else SOCKS_REPLIES.refused(refusal, "", b"")
            self._reject(refusal, response)
        elif requested is not None:
            self._connect_to(requested)
        else:
            self._logged_in = True
            self.write(login_status(True))
            self._socks.expect_request()
            self.resume_reading()

    def _connect_to(self, authority: Authority) -> None:
        assert self._socks is not None
        client, rest = self._client_auth.client, self._socks.take_remaining()
        self._negotiating, self._socks = False, None
        # The requests on this connection need no further credentials.
        self._client_auth = ClientAuthentication(self._context, self, self._auth_policy, client)
        name = self._names.name_of(authority.host) if self._names is not None else None
        if name is not None:
            authority = Authority(name, authority.port)
        if authority.ip is None or self._context.tunnels.is_passthrough(authority):
            try:
                self._open(authority, rest, SOCKS_REPLIES)
            except EgressError as error:
                self._reject(error, reply_to(error))
        else:
            self.write(SOCKS_REPLIES.established)
            self._wait_for_first(authority)
            if rest:
                self.dataReceived(rest)

    def _reject(self, error: EgressError, response: bytes) -> None:
        """Record an error, respond with SOCKS, and close."""
        self._negotiating, self._socks, self._used = False, None, True
        url = "" if self._requested is None else str(self._requested)
        report_refusal(self._context.authz, self._client_auth.client, error, METHOD, url)
        self.write(response)
        self.close()

    def _expired(self) -> None:
        if self._state in CLOSED or not self._negotiating or self._socks is None:
            super()._expired()
        elif self._checking:
            self.abort()
        else:
            self._reject(RequestTimeout("the SOCKS request was not received in time"), b"")

    def break_off(self) -> None:
        """Close after an internal error."""
        if self._negotiating:
            self.abort()
        else:
            super().break_off()


def _head(credentials: bytes | None, authority: str) -> RequestHead:
    """Write a SOCKS request as a CONNECT, for client authentication and its records."""
    return RequestHead(
        method=METHOD,
        target=authority.encode("ascii"),
        version=HTTP_1_1,
        headers=(),
        framing=NO_BODY,
        host=None,
        keep_alive=True,
        connection_options=frozenset(),
        upgrade=None,
        expects_continue=False,
        proxy_authorization=credentials,
        accept=None,
    )


class SocksFactory(ProxyFactory):
    """Creates a session for each connection of a listener for SOCKS5 and HTTP, within the connection limits.

    @param names: the names of placeholder addresses.
    @param h2c: see L{ProxyFactory}.
    """

    def __init__(
        self,
        context: ProxyContext,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        names: IPlaceholderNames | None = None,
        *,
        h2c: bool = False,
    ) -> None:
        super().__init__(context, auth_policy, h2c=h2c)
        self._names = names

    def new_session(self) -> HttpSession:
        """Create the session of a connection."""
        return SocksSession(self._context, auth_policy=self._auth_policy, names=self._names, h2c=self._h2c)
