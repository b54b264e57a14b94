"""The decorator that tells the compiler about a class.

The compiler recognizes it by the name of its library, which a running proxy does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_attributes):
        """Return a decorator that returns the class."""
        return _unchanged

    def _unchanged(cls):
        return cls


__all__ = ["mypyc_attr"]
