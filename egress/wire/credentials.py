"""What a client sends to say who it is: the value of C{Proxy-Authorization} (RFC 9110 section 11.7.2)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import attrs

# RFC 6750 section 2.1.
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


@attrs.frozen
class Basic:
    """A name and a password (RFC 7617)."""

    name: str
    password: bytes = attrs.field(repr=False)


@attrs.frozen
class Bearer:
    """A token (RFC 6750)."""

    token: bytes = attrs.field(repr=False)


def parse_credentials(value: bytes) -> Basic | Bearer | None:
    """Read the value of C{Proxy-Authorization}.

    @return: C{None} for what is malformed or of another scheme.
    """
    scheme, _, text = value.partition(b" ")
    text = text.strip()
    match scheme.lower():
        case b"basic":
            try:
                name, _, password = base64.b64decode(text, validate=True).partition(b":")
                return Basic(name.decode("utf-8"), password)
            except (binascii.Error, UnicodeDecodeError):
                return None
        case b"bearer" if _TOKEN.fullmatch(text):
            return Bearer(text)
    return None
