"""The parser of client credentials in C{Proxy-Authorization} (RFC 9110 section 11.7.2)."""

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
    """A name and a password (RFC 7617).

    @ivar name: the name of the client.
    @ivar password: the password as sent.
    """

    name: str
    password: bytes = attrs.field(repr=False)

    @property
    def passwords(self) -> tuple[bytes, ...]:
        """The password in each likely encoding: in UTF-8, decoded as Latin-1 if it is not valid UTF-8, and as sent.

        RFC 7617 section 2.1 requires UTF-8, but clients that never saw the challenge, and many that did, send Latin-1.
        """
        as_utf8 = _text(self.password).encode("utf-8")
        return (as_utf8,) if as_utf8 == self.password else (as_utf8, self.password)


@attrs.frozen
class Bearer:
    """A token (RFC 6750).

    @ivar token: the token as sent.
    """

    token: bytes = attrs.field(repr=False)


def _text(data: bytes) -> str:
    """Decode UTF-8, or Latin-1 if the bytes are not valid UTF-8; any bytes are valid Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_credentials(value: bytes) -> Basic | Bearer | None:
    """Parse the value of C{Proxy-Authorization}.

    @return: C{None} if it is malformed or has another scheme.
    """
    scheme, _, text = value.partition(b" ")
    text = text.strip()
    match scheme.lower():
        case b"basic":
            try:
                name, _, password = base64.b64decode(text, validate=True).partition(b":")
            except binascii.Error:
                return None
            return Basic(_text(name), password)
        case b"bearer" if _TOKEN.fullmatch(text):
            return Bearer(text)
    return None
