"""The C{Max-Forwards} limit of C{OPTIONS} requests (RFC 9110 section 7.6.2)."""

from __future__ import annotations

import re
from typing import Final

from egress.model.decision import Header, Headers
from egress.model.errors import BadRequest, MaxForwardsReached

_NUMBER: Final = re.compile(rb"[0-9]{1,20}")


def decrement_max_forwards(headers: Headers) -> Headers:
    """Decrement the C{Max-Forwards} of an C{OPTIONS} request. Other methods do not use it.

    @raise MaxForwardsReached: if the request must not be forwarded.
    @raise BadRequest: if the value is not a number, or there are several values.
    """
    values = [value for name, value in headers if name.lower() == b"max-forwards"]
    if not values:
        return headers
    if len(values) > 1 or _NUMBER.fullmatch(values[0]) is None:
        raise BadRequest("Max-Forwards is not a single number")
    remaining = int(values[0])
    if not remaining:
        raise MaxForwardsReached("Max-Forwards is 0: the proxy responds instead of the origin")
    decremented = b"%d" % (remaining - 1)
    return tuple(_with_value(header, decremented) for header in headers)


def _with_value(header: Header, value: bytes) -> Header:
    return (header[0], value) if header[0].lower() == b"max-forwards" else header
