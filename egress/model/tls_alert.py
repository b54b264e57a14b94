"""The TLS alerts with which a peer ends a connection."""

from __future__ import annotations

import re
from typing import Final

# "tls alert unknown ca" and "sslv3 alert certificate unknown": the first word differs between OpenSSL versions.
_ALERT: Final = re.compile(r"\S+ alert (.+)")
# Names for which OpenSSL differs from RFC 8446 section 6.
_NAMES: Final = {"user_cancelled": "user_canceled", "unrecognised_name": "unrecognized_name"}
# Alerts of a server that requires a certificate, or rejects the one it received (RFC 8446 section 6.2).
_ABOUT_CERTIFICATE: Final = frozenset(
    {
        *("certificate_required", "bad_certificate", "unsupported_certificate", "certificate_revoked"),
        *("certificate_expired", "certificate_unknown", "unknown_ca", "access_denied"),
    }
)
# Alerts of clients that do not accept the certificate of the proxy (RFC 8446 section 6.2).
NOT_TRUSTED: Final = frozenset(
    {"unknown_ca", "bad_certificate", "certificate_unknown", "unsupported_certificate", "certificate_expired"}
)
_SIGN: Final = re.compile(rf"\bwith the (alert (?:{'|'.join(sorted(NOT_TRUSTED))}))\b")
CLOSED_IN_HANDSHAKE: Final = "the TLS handshake with the client failed: the connection was closed"


def distrust_in(reason: str) -> str | None:
    """Return the alert with which a client rejected the certificate of the proxy; C{None} if it sent none.

    @param reason: the reason of an audit record, which L{egress.proxy.tunnel_errors} writes.
    """
    sign = _SIGN.search(reason)
    return None if sign is None else sign[1]


def hint_at_certificate(alert: str) -> str:
    """Return a hint for an origin's alert about the client certificate; otherwise an empty text."""
    if alert not in _ABOUT_CERTIFICATE:
        return ""
    return "; it requires a client certificate: add one to the file of --origin-tls"


def reason_in(error: BaseException) -> str | None:
    """Return the last reason in the error queue of an C{OpenSSL.SSL.Error}, or C{None} if there is none."""
    queue = error.args[0] if error.args else None
    if not isinstance(queue, list) or not queue:
        return None
    return str(queue[-1][-1])


def refuses_protocols(error: BaseException) -> bool:
    """Tell whether a server supports none of the offered application protocols (RFC 7301 section 3.2).

    OpenSSL 3.2 has no text for this alert, but for all others that a client without a pre-shared key receives.
    """
    return alert_in(error) == "no_application_protocol" or reason_in(error) == ""


def alert_in(error: BaseException) -> str | None:
    """Return the alert that the peer sent, by its name in RFC 8446 section 6, or C{None} if it sent none.

    @param error: the error with which a TLS connection ended.
    """
    alert = _ALERT.fullmatch(reason_in(error) or "")
    if alert is None:
        return None
    name = alert[1].replace(" ", "_")
    return _NAMES.get(name, name)
