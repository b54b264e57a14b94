"""The ids of requests."""

from __future__ import annotations

from os import urandom
from typing import Final

_ID_BYTES: Final = 12
_IDS_AT_ONCE: Final = 256


class RequestIds:
    """Unguessable, unique ids. Their random data is read in large blocks."""

    def __init__(self) -> None:
        self._random = ""
        self._used = 0

    def new(self) -> str:
        """Create an id."""
        used = self._used
        if used == len(self._random):
            self._random = urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
            used = 0
        self._used = end = used + 2 * _ID_BYTES
        return self._random[used:end]
