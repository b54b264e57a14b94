"""The authentication of a session's client, which precedes each request."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final
from typing import Protocol as Structure

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.http.events import RequestHead
from egress.http.request_target import CLEAR_TEXT
from egress.interfaces import IClientAuthenticator
from egress.model.decision import ClientIdentity
from egress.model.errors import (
    ClientAuthBusy,
    ClientCredentialsRejected,
    ClientDisconnected,
    ClientTlsFailed,
    EgressError,
)
from egress.proxy.session_refusal import report_refusal
from egress.proxy.transaction import internal_error
from egress.proxy.tunnel_binding import Peer, client_identity, identified, peer_of, target_for_log
from egress.transport.tls_layer import TLS_LAYERS

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# Timeout for a credential check, including its wait in the queue.
CHECK_SECONDS: Final = 10.0

_log = Logger()

CertificateName = Callable[[x509.Certificate], str | None]


@attrs.frozen
class ClientAuthPolicy:
    """The client authentication of a listening port.

    @ivar authenticator: checks credentials.
    @ivar certificate: returns the client name of a certificate, if clients present one in the TLS handshake.
    @ivar allow_unverified_names: whether clients may choose their own name where no authentication is required. False
        if another port requires authentication: verified and unverified names would be indistinguishable.
    @ivar schemes: the URL schemes of requests without CONNECT.
    """

    authenticator: IClientAuthenticator | None = None
    certificate: CertificateName | None = None
    allow_unverified_names: bool = True
    schemes: Container[str] = CLEAR_TEXT


ANONYMOUS: Final = ClientAuthPolicy()


class AuthenticatedSession(Structure):
    """The interface of the session whose client is identified."""

    @property
    def transport(self) -> object:
        """The transport."""

    def admitted(self, head: RequestHead, refusal: EgressError | None) -> None:
        """Process a request after client authentication, which failed if there is a C{refusal}."""

    def advance(self) -> None:
        """Process buffered events."""

    def break_off(self) -> None:
        """Close after an internal error."""


class ConnectionIdentity:
    """The clients of one connection, as far as the connection itself tells: its peer, and its certificate.

    @param session: the session of the connection.
    """

    __slots__ = ("_auth_policy", "_certified", "_known_peer", "_last", "_session")

    def __init__(self, session: AuthenticatedSession, auth_policy: ClientAuthPolicy) -> None:
        self._session = session
        self._auth_policy = auth_policy
        self._certified: tuple[str, bytes] | None = None
        self._known_peer: Peer | None = None
        self._last: tuple[str | None, bytes | None, ClientIdentity] | None = None

    @property
    def peer(self) -> Peer:
        """The peer."""
        if self._known_peer is None:
            self._known_peer = peer_of(self._session.transport)
        return self._known_peer

    @property
    def anonymous(self) -> ClientIdentity:
        """A client that has presented nothing."""
        return identified(self.peer, None)

    def require_certificate(self) -> None:
        """Read the certificate of the client, if the listener requires one.

        @raise ClientCredentialsRejected: if there is none, or if it contains no name.
        """
        name_of = self._auth_policy.certificate
        if name_of is not None and self._certified is None:
            self._certified = self._by_certificate(name_of)

    def _by_certificate(self, name_of: CertificateName) -> tuple[str, bytes]:
        transport = self._session.transport
        presented_certificate = None
        if isinstance(transport, TLS_LAYERS):
            presented_certificate = transport.getPeerCertificate()
        if presented_certificate is None:
            raise ClientCredentialsRejected("this listener requires a client certificate")
        certificate = presented_certificate.to_cryptography()
        name = name_of(certificate)
        if name is None:
            raise ClientCredentialsRejected("the client certificate contains no client name")
        return name, certificate.public_bytes(Encoding.DER)

    def identify(self, name: str | None, presented: bytes | None) -> ClientIdentity:
        """Return the identity of the client of a request.

        @param name: the verified name; C{None} if no name was verified.
        @param presented: the credentials of the request.
        """
        last = self._last
        if last is None or last[:2] != (name, presented):
            last = self._last = (name, presented, self._identify(name, presented))
        return last[2]

    def _identify(self, name: str | None, presented: bytes | None) -> ClientIdentity:
        if self._certified is not None:
            # Two proofs: the certificate identifies the machine, the name identifies its user.
            certified, certificate = self._certified
            return identified(self.peer, name or certified, certificate, presented)
        if name is None and self._auth_policy.allow_unverified_names:
            return client_identity(self.peer, presented)
        return identified(self.peer, name, presented)


class ClientAuthentication:
    """Identifies the client of each request of one session.

    @param client: inside a tunnel, the client that opened the tunnel.
    @param connection: the identity of the connection; C{None} if the session does not share it.
    @ivar connection: the identity of the connection.
    @ivar waiting: the request whose credentials are being checked; no other request is processed meanwhile.
    """

    __slots__ = (
        "_auth_policy",
        "_client",
        "_context",
        "_handled_request",
        "_in_tunnel",
        "_pending",
        "_session",
        "connection",
        "waiting",
    )

    def __init__(
        self,
        context: ProxyContext,
        session: AuthenticatedSession,
        auth_policy: ClientAuthPolicy,
        client: ClientIdentity | None = None,
        connection: ConnectionIdentity | None = None,
    ) -> None:
        self.connection = connection or ConnectionIdentity(session, auth_policy)
        self.waiting: RequestHead | None = None
        self._context = context
        self._session = session
        self._auth_policy = auth_policy
        self._client = client
        # Inside a tunnel the client is already known, and the tunnel handles the TLS handshake.
        self._in_tunnel = self._handled_request = client is not None
        self._pending: Deferred[str] | None = None

    @property
    def client(self) -> ClientIdentity:
        """The client, as far as it is identified."""
        return self._client or self.connection.anonymous

    @property
    def schemes(self) -> Container[str]:
        """The URL schemes of requests without CONNECT."""
        return self._auth_policy.schemes

    @property
    def may_end(self) -> bool:
        """Whether the waiting request was received completely."""
        return self.waiting is not None and not self.waiting.framing.has_body

    def admit(self, head: RequestHead) -> None:
        """Identify the client of a request, then notify the session: immediately, or later while L{waiting} is set."""
        if not self._in_tunnel:
            self._handled_request = True
            presented = head.proxy_authorization
            authenticator = self._auth_policy.authenticator
            try:
                self.connection.require_certificate()
            except EgressError as error:
                self._session.admitted(head, error)
                return
            if authenticator is not None:
                name = authenticator.cached_identity(presented) if presented is not None else None
                if name is None:
                    self._check(head, authenticator.check(presented, self.client.address))
                    return
                self._client = self.connection.identify(name, presented)
            else:
                self._client = self.connection.identify(None, presented)
        self._session.admitted(head, None)

    def _check(self, head: RequestHead, checking: Deferred[str]) -> None:
        self.waiting = head
        self._pending = checking.addTimeout(CHECK_SECONDS, self._context.clock)
        checking.addCallbacks(self._authenticated, self._not_authenticated).addErrback(self._session_failed)

    def _take_waiting(self) -> RequestHead | None:
        head, self.waiting, self._pending = self.waiting, None, None
        return head

    def _authenticated(self, name: str) -> None:
        head = self._take_waiting()
        if head is not None:
            self._client = self.connection.identify(name, head.proxy_authorization)
            self._session.admitted(head, None)
            self._session.advance()

    def _not_authenticated(self, failure: Failure) -> None:
        head = self._take_waiting()
        if head is None:
            # The check was cancelled; its result is ignored.
            return
        # The identity of an earlier request does not apply to a request with other credentials.
        self._client = None
        error = failure.value
        if isinstance(error, TookTooLong):
            error = ClientAuthBusy("the credentials were not checked in time; try again")
        elif not isinstance(error, EgressError):
            _log.failure("credentials could not be checked", failure)
            error = internal_error()
        self._session.admitted(head, error)
        self._session.advance()

    def _session_failed(self, failure: Failure) -> None:
        _log.failure("a session with a client failed", failure)
        self._session.break_off()

    def drop(self, reason: Failure) -> None:
        """Handle the loss of the client connection."""
        pending, head = self._pending, self._take_waiting()
        if pending is not None:
            pending.cancel()
        if head is not None:
            disconnected = ClientDisconnected("the client disconnected while its credentials were checked")
            target = target_for_log(None, head)
            authz = self._context.authz
            report_refusal(
                authz, self.client, disconnected, head.method, target, headers=head.headers, http=head.version
            )
        elif not self._handled_request and isinstance(reason.value, SSL.Error):
            # No request was received, so only the audit record contains the reason: most often, an invalid client
            # certificate.
            failed = ClientTlsFailed(f"the TLS handshake with the proxy itself failed: {_readable(reason.value)}")
            report_refusal(self._context.authz, self.client, failed, "", "")


def _readable(error: SSL.Error) -> str:
    queue = error.args[0] if error.args else None
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else type(error).__name__
