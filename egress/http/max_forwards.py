"""How many more proxies a request may pass (RFC 9110 section 7.6.2)."""

from __future__ import annotations

import re
from typing import Final

from egress.model.decision import Header, Headers
from egress.model.errors import BadRequest, MaxForwardsReached

_NUMBER: Final = re.compile(rb"[0-9]{1,20}")


def decrement_max_forwards(headers: Headers) -> Headers:
    """Count this proxy in the C{Max-Forwards} of an C{OPTIONS} request; other methods have no use for it.

    @raise MaxForwardsReached: when the request may go no further.
    @raise BadRequest: when the value is no number, or there are several.
    """
    values = [value for name, value in headers if name.lower() == b"max-forwards"]
    if not values:
        return headers
    if len(values) > 1 or _NUMBER.fullmatch(values[0]) is None:
        raise BadRequest("Max-Forwards is not one number")
    left = int(values[0])
    if not left:
        raise MaxForwardsReached("Max-Forwards is 0: the proxy answers in the origin's place")
    lowered = b"%d" % (left - 1)
    return tuple(_counted(header, lowered) for header in headers)


def _counted(header: Header, value: bytes) -> Header:
    return (header[0], value) if header[0].lower() == b"max-forwards" else header
