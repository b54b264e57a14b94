"""The bearer token by which callers are known (RFC 6750 section 2.1).  Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import attrs


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _digest_of(token: str) -> bytes:
    return _digest(token.encode("ascii"))


@attrs.frozen
class Bearer:
    """Knows those who show a token.

    @ivar challenge: the value of C{WWW-Authenticate} for everybody else.
    """

    _expected: bytes = attrs.field(converter=_digest_of, repr=False)
    challenge: str = 'Bearer realm="egressauthz"'

    def admits(self, shown: Sequence[bytes]) -> bool:
        """Whether the token is shown, in time that tells nothing about it.

        @param shown: all values of C{Authorization}.
        """
        if len(shown) != 1:
            return False
        scheme, _, token = shown[0].strip().partition(b" ")
        # Of digests, whose length is that of every other.
        return hmac.compare_digest(_digest(token.strip()), self._expected) and scheme.lower() == b"bearer"
