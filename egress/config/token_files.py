"""Files that contain a bearer token."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from egress.model import text_converters as setting_text
from egress.model.converters import BadValue

MAX_SIZE: Final = 64 * 1024


def read_token(path: Path) -> str:
    """Read a bearer token.

    @raise BadValue: if the file does not contain only a token.
    @raise OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise BadValue("a token file must contain only the token")
    try:
        return setting_text.token(data.decode("ascii").strip())
    except (BadValue, UnicodeDecodeError) as error:
        raise BadValue("a token file must contain only the token: one word of visible ASCII characters") from error
