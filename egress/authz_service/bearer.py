"""The bearer token of callers (RFC 6750 section 2.1)."""

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
    """Checks the token of callers.

    @ivar challenge: the value of C{WWW-Authenticate} for all other callers.
    """

    _expected: bytes = attrs.field(converter=_digest_of, repr=False)
    challenge: str = 'Bearer realm="egressauthz"'

    def admits(self, shown: Sequence[bytes]) -> bool:
        """Return whether the token is valid, in a time that does not depend on it.

        @param shown: all values of C{Authorization}.
        """
        if len(shown) != 1:
            return False
        scheme, _, token = shown[0].strip().partition(b" ")
        # Digests all have the same length.
        return hmac.compare_digest(_digest(token.strip()), self._expected) and scheme.lower() == b"bearer"
