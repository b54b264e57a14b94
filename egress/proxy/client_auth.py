"""Who the client of a session is: found out before any request of it is taken."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from egress.http.heads import RequestHead
from egress.http.request_target import CLEAR_TEXT
from egress.interfaces import IClientAuthenticator
from egress.model.decision import ClientIdentity
from egress.model.errors import ClientCheckBusy, ClientGone, ClientTlsFailed, CredentialsRejected, EgressError
from egress.proxy.transaction import internal_fault, report_refusal
from egress.proxy.tunnel_binding import Peer, client_identity, identified, peer_of, target_for_log

if TYPE_CHECKING:
    from egress.proxy.client_session import HttpSession
    from egress.proxy.context import ProxyContext

# What a check may take, its turn included.
CHECK_SECONDS: Final = 10.0

_log = Logger()

CertificateName = Callable[[x509.Certificate], str | None]


@attrs.frozen
class ClientAuthPolicy:
    """What a listening port asks of its clients.

    @ivar gate: checks credentials.
    @ivar certificate: says whom a certificate names, where clients show one in the TLS handshake.
    @ivar schemes: of the URLs that may be asked for without a CONNECT.
    @ivar labels: whether they may call themselves what they like, where nothing is asked for.  Not so where another
        port asks: nobody could tell a label from a name that was proven.
    """

    authenticator: IClientAuthenticator | None = None
    certificate: CertificateName | None = None
    allow_unverified_names: bool = True
    schemes: Container[str] = CLEAR_TEXT


ANONYMOUS: Final = ClientAuthPolicy()


class ClientAuthentication:
    """Finds out who sends the requests of one session.

    @param client: who it is, inside a tunnel: whoever made the tunnel.
    @ivar waiting: the request whose credentials are being checked; no other is taken meanwhile.
    """

    __slots__ = (
        "_auth_policy",
        "_certified",
        "_client",
        "_credentials",
        "_inside",
        "_known_peer",
        "_met",
        "_parts",
        "_pending",
        "_session",
        "waiting",
    )

    def __init__(
        self, parts: ProxyContext, session: HttpSession, auth_policy: ClientAuthPolicy, client: ClientIdentity | None
    ) -> None:
        self.waiting: RequestHead | None = None
        self._parts = parts
        self._session = session
        self._auth_policy = auth_policy
        self._client = client
        # Inside a tunnel there is nothing to find out, and its handshake is the tunnel's affair.
        self._inside = self._met = client is not None
        self._credentials: bytes | None = None
        self._certified: tuple[str, bytes] | None = None
        self._pending: Deferred[str] | None = None
        self._known_peer: Peer | None = None

    @property
    def client(self) -> ClientIdentity:
        """Who it is, as far as is known."""
        return self._client or identified(self._peer, None)

    @property
    def schemes(self) -> Container[str]:
        """Of the URLs that may be asked for without a CONNECT."""
        return self._auth_policy.schemes

    @property
    def may_end(self) -> bool:
        """Whether all of the request that waits has been sent."""
        return self.waiting is not None and not self.waiting.framing.has_body

    @property
    def _peer(self) -> Peer:
        if self._known_peer is None:
            self._known_peer = peer_of(self._session.transport)
        return self._known_peer

    def admit(self, head: RequestHead) -> None:
        """Find out who sends a request, then tell the session: at once, or while L{waiting}."""
        if not self._inside:
            self._met = True
            presented = head.proxy_authorization
            gate = self._auth_policy.authenticator
            try:
                if self._auth_policy.certificate is not None and self._certified is None:
                    self._certified = self._by_certificate(self._auth_policy.certificate)
            except EgressError as error:
                self._session.admitted(head, error)
                return
            if gate is not None:
                name = gate.cached_identity(presented) if presented is not None else None
                if name is None:
                    self._check(head, gate.check(presented, self.client.address))
                    return
                self._enter(name, presented)
            elif self._client is None or presented != self._credentials:
                self._enter(None, presented)
        self._session.admitted(head, None)

    def _by_certificate(self, name_of: CertificateName) -> tuple[str, bytes]:
        transport = self._session.transport
        shown = transport.getPeerCertificate() if isinstance(transport, TLSMemoryBIOProtocol) else None
        if shown is None:
            raise CredentialsRejected("this port serves clients with a certificate alone, and none was shown")
        certificate = shown.to_cryptography()
        name = name_of(certificate)
        if name is None:
            raise CredentialsRejected("the client's certificate names nobody")
        return name, certificate.public_bytes(Encoding.DER)

    def _enter(self, name: str | None, presented: bytes | None) -> None:
        """Note who it is.

        @param name: found out from what was presented; C{None} where nothing was to be found out.
        """
        if self._client is not None and presented == self._credentials and name == self._client.identity is not None:
            return
        self._credentials = presented
        if self._certified is not None:
            # Two proofs: the certificate is the machine's, the name is that of who uses it.
            certified, certificate = self._certified
            self._client = identified(self._peer, name or certified, certificate, presented)
        elif name is None and self._auth_policy.allow_unverified_names:
            self._client = client_identity(self._peer, presented)
        else:
            self._client = identified(self._peer, name, presented)

    def _check(self, head: RequestHead, checking: Deferred[str]) -> None:
        self.waiting = head
        self._pending = checking.addTimeout(CHECK_SECONDS, self._parts.clock)
        checking.addCallbacks(self._found, self._not_found).addErrback(self._broken)

    def _taken(self) -> RequestHead | None:
        head, self.waiting, self._pending = self.waiting, None, None
        return head

    def _found(self, name: str) -> None:
        head = self._taken()
        if head is not None:
            self._enter(name, head.proxy_authorization)
            self._session.admitted(head, None)
            self._session.advance()

    def _not_found(self, failure: Failure) -> None:
        head = self._taken()
        if head is None:
            # Given up: how it ends is of no interest.
            return
        # What was known of an earlier request does not hold for one that shows something else.
        self._client = self._credentials = None
        error = failure.value
        if isinstance(error, TookTooLong):
            error = ClientCheckBusy("the credentials were not checked in time: try again")
        elif not isinstance(error, EgressError):
            _log.failure("credentials could not be checked", failure)
            error = internal_fault()
        self._session.admitted(head, error)
        self._session.advance()

    def _broken(self, failure: Failure) -> None:
        _log.failure("a session with a client failed", failure)
        self._session.break_off()

    def drop(self, reason: Failure) -> None:
        """The client is gone."""
        pending, head = self._pending, self._taken()
        if pending is not None:
            pending.cancel()
        if head is not None:
            gone = ClientGone("the client went away while its credentials were checked")
            report_refusal(self._parts, self.client, gone, head.method, target_for_log(None, head))
        elif not self._met and isinstance(reason.value, SSL.Error):
            # It got nowhere, and the record alone says why: one without a good certificate, most often.
            failed = ClientTlsFailed(f"the TLS handshake with the proxy itself failed: {_readable(reason.value)}")
            report_refusal(self._parts, self.client, failed, "", "")


def _readable(error: SSL.Error) -> str:
    queue = error.args[0] if error.args else None
    return str(queue[-1][-1]) if isinstance(queue, list) and queue else type(error).__name__
