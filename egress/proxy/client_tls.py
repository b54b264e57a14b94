"""Client TLS inside a CONNECT: the handshake, and the errors of clients that send no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from typing import Protocol as Structure

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.errors import ClientError, ClientLeft, ClientTlsFailed
from egress.model.tls_alert import alert_in, reason_in
from egress.tls.client_hello import UNREADABLE, ClientHello, MalformedHello, read_client_hello

if TYPE_CHECKING:
    from egress.proxy.client_session import HttpSession

# Alerts of clients that do not accept the certificate (RFC 8446 section 6.2).
_NOT_TRUSTED: Final = frozenset(
    {"unknown_ca", "bad_certificate", "certificate_unknown", "unsupported_certificate", "certificate_expired"}
)
_HTTP1: Final = b"http/1.1"
_SHOWN_PROTOCOLS: Final = 5


class HandshakeOwner(Structure):
    """The interface of the object that is notified of the end of a handshake."""

    def handshake_over(self) -> None:
        """The handshake is complete."""

    def handshake_failed(self, reason: Failure) -> None:
        """The handshake failed."""


@implementer(IHandshakeListener)
class Handshake(Protocol):
    """The protocol between the TLS layer and the session during the handshake."""

    def __init__(self, owner: HandshakeOwner, session: HttpSession) -> None:
        self._owner = owner
        self._session = session
        self._completed = False

    def handshakeCompleted(self) -> None:
        """Replace this protocol with the session."""
        self._completed = True
        self._owner.handshake_over()
        self._session.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self._session.handshakeCompleted()
        # From here on the TLS layer calls the session directly.
        self.transport.wrappedProtocol = self._session  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle a connection that was lost during the handshake."""
        if not self._completed:
            self._owner.handshake_failed(reason)


def parse_client_hello(data: bytes) -> ClientHello | None:
    """Parse the first TLS message of a client. OpenSSL handles a malformed message and responds with an alert.

    @return: C{None} if more data is needed.
    """
    try:
        return read_client_hello(data)
    except MalformedHello:
        return UNREADABLE


def handshake_fault(error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...]) -> ClientTlsFailed:
    """Describe a failed handshake.

    @param error: the reason of the lost connection.
    @param protocols: the application protocols that the client offered.
    """
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        message = f"the client broke off the TLS handshake with the alert {alert}{_hint(alert, authority)}"
    else:
        reason = reason_in(error) if isinstance(error, SSL.Error) else None
        message = f"the TLS handshake with the client failed: {reason or 'the connection was closed'}"
    return ClientTlsFailed(message + _offered(protocols))


def unused_connection_error(
    error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...], *, tls: bool
) -> ClientError:
    """Describe why a tunnel had no request.

    @param error: the reason for which the session ended.
    @param tls: whether there was a TLS handshake.
    """
    after = "after the TLS handshake" if tls else "inside the CONNECT"
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        hint = _hint(alert, authority)
        return ClientTlsFailed(
            f"the client ended the connection {after} with the alert {alert}{hint}{_offered(protocols)}"
        )
    closing = "closed" if error is None or isinstance(error, ConnectionDone) else "cut"
    message = f"the client sent no request {after}, and the connection was {closing}"
    if not tls:
        return ClientLeft(message)
    if protocols and _HTTP1 not in protocols:
        return ClientLeft(f"{message}{_offered(protocols)}, and the proxy speaks http/1.1 alone")
    return ClientLeft(
        f"{message}; one that pins certificates needs --passthrough {authority.host}{_offered(protocols)}"
    )


def _hint(alert: str, authority: Authority) -> str:
    if alert not in _NOT_TRUSTED:
        return ""
    return (
        f"; is the proxy's CA trusted by this client? One that pins certificates needs --passthrough {authority.host}"
    )


def _offered(protocols: tuple[bytes, ...]) -> str:
    """List the protocols that a client offered (RFC 7301), as printable ASCII only."""
    if not protocols:
        return ""
    names = [
        "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in name[:32]) for name in protocols[:_SHOWN_PROTOCOLS]
    ]
    more = f" and {len(protocols) - _SHOWN_PROTOCOLS} more" if len(protocols) > _SHOWN_PROTOCOLS else ""
    return f"; it offered the protocols {', '.join(names)}{more}"
