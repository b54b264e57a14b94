"""Text of strangers on a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Write what a terminal would obey, or show in another place, as an escape: clients choose their URLs and names."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
