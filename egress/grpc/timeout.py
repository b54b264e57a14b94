"""The deadline of a call: C{grpc-timeout}."""

from __future__ import annotations

import re
from typing import Final

from egress.model.decision import Headers

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def parse_timeout(value: bytes) -> float | None:
    """Parse the value of C{grpc-timeout} into seconds; C{None} if it is not valid."""
    found = _TIMEOUT.fullmatch(value)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def timeout_of(headers: Headers) -> float | None:
    """Return the timeout of a request in seconds; C{None} without a valid one."""
    for name, value in headers:
        if name.lower() == b"grpc-timeout":
            return parse_timeout(value)
    return None
