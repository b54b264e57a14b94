"""The names of all checks, for C{--only} and C{--skip}."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from egress.doctor.runtimes import RUNTIMES

MACHINE: Final = (
    *("proxy", "environment", "ca", "clock", "dns", "authorizer", "upstream", "direct", "descriptors", "versions"),
)
"""The checks of the proxy and of the machine, in the order of the report."""

DOCKER: Final = "docker"

NAMES: Final = (*MACHINE, *sorted(runtime.name for runtime in RUNTIMES), DOCKER)
"""All checks, in the order of the report."""

# Several runtimes, by the name of their language.
_GROUPS: Final = {"python": ("aiohttp", "httpx", "requests", "urllib")}


def select(only: Collection[str], skip: Collection[str]) -> frozenset[str]:
    """Return the names of the checks to make.

    @param only: names of checks; empty: all.
    @param skip: names of checks.
    @raise KeyError: with a name that does not exist.
    """
    return (_expand(only) or frozenset(NAMES)) - _expand(skip)


def _expand(names: Collection[str]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        if name not in NAMES and name not in _GROUPS:
            raise KeyError(name)
        found.update(_GROUPS.get(name, (name,)))
    return frozenset(found)
