"""The alerts with which the other side of a TLS connection says why it ends it."""

from __future__ import annotations

import re
from typing import Final

# "tls alert unknown ca" and "sslv3 alert certificate unknown": with another first word in each version of OpenSSL.
_ALERT: Final = re.compile(r"\S+ alert (.+)")
# Where OpenSSL's words are not those of RFC 8446 section 6.
_NAMES: Final = {"user_cancelled": "user_canceled", "unrecognised_name": "unrecognized_name"}


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
