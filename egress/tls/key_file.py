"""Files that contain the key of a CA."""

from __future__ import annotations

from pathlib import Path

from egress.runtime.private_file import ExposedFile, read_secret
from egress.tls.issuer import CaError


def read_key_file(path: Path) -> bytes | None:
    """Read a file with a private key.

    @return: C{None} if the file does not exist.
    @raise CaError: if other users have access to the file.
    @raise OSError: if the file cannot be read, or is not a regular file.
    """
    try:
        return read_secret(path)
    except ExposedFile as error:
        raise CaError(error.reason, of_key=True) from error
