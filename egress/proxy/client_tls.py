"""TLS with a client inside a CONNECT: the handshake, and why a client leaves without a request."""

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

# Alerts of a client that does not accept the certificate (RFC 8446 section 6.2).
_NOT_TRUSTED: Final = frozenset(
    {"unknown_ca", "bad_certificate", "certificate_unknown", "unsupported_certificate", "certificate_expired"}
)
_HTTP1: Final = b"http/1.1"
_SHOWN_PROTOCOLS: Final = 5


class HandshakeOwner(Structure):
    """Who is told how a handshake ends."""

    def handshake_over(self) -> None:
        """The client finished it."""

    def handshake_failed(self, reason: Failure) -> None:
        """It was broken off."""


@implementer(IHandshakeListener)
class Handshake(Protocol):
    """Stands between the TLS layer and the session until the client has finished the handshake."""

    def __init__(self, owner: HandshakeOwner, session: HttpSession) -> None:
        self._owner = owner
        self._session = session
        self._completed = False

    def handshakeCompleted(self) -> None:
        """Put the session in this one's place."""
        self._completed = True
        self._owner.handshake_over()
        self._session.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self._session.handshakeCompleted()
        # From here on the TLS layer talks to the session itself.
        self.transport.wrappedProtocol = self._session  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection ended before the handshake did."""
        if not self._completed:
            self._owner.handshake_failed(reason)


def hello_of(early: bytes) -> ClientHello | None:
    """Read the first message of a client; what cannot be read is left to OpenSSL, which answers it with an alert.

    @return: C{None} when more must be received.
    """
    try:
        return read_client_hello(early)
    except MalformedHello:
        return UNREADABLE


def handshake_fault(error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...]) -> ClientTlsFailed:
    """Put a failed handshake into words.

    @param error: with which the connection ended.
    @param protocols: the application protocols that the client offered.
    """
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        text = f"the client broke off the TLS handshake with the alert {alert}{_hint(alert, authority)}"
    else:
        reason = reason_in(error) if isinstance(error, SSL.Error) else None
        text = f"the TLS handshake with the client failed: {reason or 'the connection was closed'}"
    return ClientTlsFailed(text + _offered(protocols))


def left_unused(
    error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...], *, tls: bool
) -> ClientError:
    """Say why there was no request in a tunnel.

    @param error: with which the session ended.
    @param tls: whether there was a TLS handshake.
    """
    after = "after the TLS handshake" if tls else "inside the CONNECT"
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        hint = _hint(alert, authority)
        return ClientTlsFailed(
            f"the client ended the connection {after} with the alert {alert}{hint}{_offered(protocols)}"
        )
    how = "closed" if error is None or isinstance(error, ConnectionDone) else "cut"
    text = f"the client sent no request {after}, and the connection was {how}"
    if not tls:
        return ClientLeft(text)
    if protocols and _HTTP1 not in protocols:
        return ClientLeft(f"{text}{_offered(protocols)}, and the proxy speaks http/1.1 alone")
    return ClientLeft(f"{text}; one that pins certificates needs --passthrough {authority.host}{_offered(protocols)}")


def _hint(alert: str, authority: Authority) -> str:
    if alert not in _NOT_TRUSTED:
        return ""
    return (
        f"; is the proxy's CA trusted by this client? One that pins certificates needs --passthrough {authority.host}"
    )


def _offered(protocols: tuple[bytes, ...]) -> str:
    """Name the protocols that a client offered (RFC 7301); what it sent is shown as printable ASCII alone."""
    if not protocols:
        return ""
    names = [
        "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in name[:32]) for name in protocols[:_SHOWN_PROTOCOLS]
    ]
    more = f" and {len(protocols) - _SHOWN_PROTOCOLS} more" if len(protocols) > _SHOWN_PROTOCOLS else ""
    return f"; it offered the protocols {', '.join(names)}{more}"
