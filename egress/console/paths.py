"""The paths of the console."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

ROOT: Final = "/console"
"""The path of the console."""


def request_path(request_id: str) -> str:
    """Return the path of the page of a request."""
    return f"{ROOT}/requests/{quote(request_id, safe='')}"


def with_query(path: str, **values: str) -> str:
    """Return a path with the parameters that are not empty."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{path}{'?' if query else ''}{query}"
