"""Objects with values of wrong types, as applications without a type checker create them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from egress.runtime.build import build_name

_T = TypeVar("_T")


def untyped(make: Callable[..., _T], *arguments: Any, **values: Any) -> list[_T]:
    """Return the object that C{make} returns; nothing, if it has a compiled class, which refuses values of wrong types.

    An application then fails where it creates the object, and not where the proxy receives it.
    """
    try:
        return [make(*arguments, **values)]
    except TypeError:
        if build_name() == "pure":
            raise
        return []
