"""Numbers of things in text."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in C{"1,000 requests"}.

    @param noun: the singular; the plural has an C{s}.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
