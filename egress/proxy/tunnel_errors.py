"""The errors of tunnels whose client sends no request, or does not complete the TLS handshake."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone

from egress.model.authority import Authority
from egress.model.errors import ClientError, ClientTlsFailed, TunnelWithoutRequest
from egress.model.tls_alert import CLOSED_IN_HANDSHAKE, NOT_TRUSTED, alert_in, reason_in

_HTTP1: Final = b"http/1.1"
_HTTP2: Final = b"h2"
_SHOWN_PROTOCOLS: Final = 5


def handshake_fault(error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...]) -> ClientTlsFailed:
    """Describe a failed handshake.

    @param error: the reason of the lost connection.
    @param authority: the authority of the tunnel.
    @param protocols: the application protocols that the client offered.
    """
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        message = f"the client aborted the TLS handshake with the alert {alert}{_hint(alert, authority)}"
    else:
        reason = reason_in(error) if isinstance(error, SSL.Error) else None
        message = f"the TLS handshake with the client failed: {reason}" if reason else CLOSED_IN_HANDSHAKE
    return ClientTlsFailed(message + _offered(protocols))


def unused_connection_error(
    error: BaseException | None, authority: Authority, protocols: tuple[bytes, ...], *, tls: bool, http2: bool = True
) -> ClientError:
    """Describe why a tunnel had no request.

    @param error: the reason for which the session ended.
    @param authority: the authority of the tunnel.
    @param protocols: the application protocols that the client offered.
    @param tls: whether there was a TLS handshake.
    @param http2: whether clients can use HTTP/2.
    """
    after = "after the TLS handshake" if tls else "in the tunnel"
    alert = alert_in(error) if isinstance(error, SSL.Error) else None
    if alert is not None:
        hint = _hint(alert, authority)
        return ClientTlsFailed(
            f"the client ended the connection {after} with the alert {alert}{hint}{_offered(protocols)}"
        )
    closing = "closed" if error is None or isinstance(error, ConnectionDone) else "lost"
    message = f"the client sent no request {after}, and the connection was {closing}"
    if not tls:
        return TunnelWithoutRequest(message)
    supported = (_HTTP2, _HTTP1) if http2 else (_HTTP1,)
    if protocols and not any(protocol in protocols for protocol in supported):
        names = b" and ".join(supported).decode("ascii")
        return TunnelWithoutRequest(f"{message}{_offered(protocols)}, but the proxy supports only {names}")
    return TunnelWithoutRequest(
        f"{message}; a client that pins certificates needs --passthrough {authority.host}{_offered(protocols)}"
    )


def _hint(alert: str, authority: Authority) -> str:
    if alert not in NOT_TRUSTED:
        return ""
    pinned = f"A client that pins certificates needs --passthrough {authority.host}"
    return f"; check that this client trusts the proxy's CA. {pinned}"


def _offered(protocols: tuple[bytes, ...]) -> str:
    """List the protocols that a client offered (RFC 7301), as printable ASCII only."""
    if not protocols:
        return ""
    names = [
        "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in name[:32]) for name in protocols[:_SHOWN_PROTOCOLS]
    ]
    more = f" and {len(protocols) - _SHOWN_PROTOCOLS} more" if len(protocols) > _SHOWN_PROTOCOLS else ""
    return f"; it offered the protocols {', '.join(names)}{more}"
