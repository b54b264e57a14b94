"""The TOML parser for all files that the proxy reads."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib


class NotToml(ValueError):
    """Text that is not TOML; the message is one line, can quote the text, and names the line and the column."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    @raise NotToml: if the text is not TOML, or is nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotToml(" ".join(str(error).split())) from None
