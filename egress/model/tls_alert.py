"""The alerts with which the other side of a TLS connection says why it ends it."""

from __future__ import annotations

import re
from typing import Final

# "tls alert unknown ca" and "sslv3 alert certificate unknown": with another first word in each version of OpenSSL.
_ALERT: Final = re.compile(r"\S+ alert (.+)")
# Where OpenSSL's words are not those of RFC 8446 section 6.
_NAMES: Final = {"user_cancelled": "user_canceled", "unrecognised_name": "unrecognized_name"}
# Alerts of a server that wants a certificate, or another one (RFC 8446 section 6.2).
_ABOUT_CERTIFICATE: Final = frozenset(
    {
        *("certificate_required", "bad_certificate", "unsupported_certificate", "certificate_revoked"),
        *("certificate_expired", "certificate_unknown", "unknown_ca", "access_denied"),
    }
)


def hint_at_certificate(alert: str) -> str:
    """Say what to do about an alert of an origin, where it is about the certificate that it is shown."""
    if alert not in _ABOUT_CERTIFICATE:
        return ""
    return "; it wants a client certificate that it accepts: name one in the file of --origin-tls"


def reason_in(error: BaseException) -> str | None:
    """The last reason in the error queue that an C{OpenSSL.SSL.Error} carries; C{None} when there is none."""
    queue = error.args[0] if error.args else None
    if not isinstance(queue, list) or not queue:
        return None
    return str(queue[-1][-1])


def alert_in(error: BaseException) -> str | None:
    """The alert that the other side sent, by its name in RFC 8446 section 6; C{None} when it sent none.

    @param error: with which a TLS connection ended.
    """
    alert = _ALERT.fullmatch(reason_in(error) or "")
    if alert is None:
        return None
    name = alert[1].replace(" ", "_")
    return _NAMES.get(name, name)
