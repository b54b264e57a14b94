"""The functions of the proxy in the queries of SQLite."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from egress.store.keywords import has_phrases


# Records often have the same paths.
@lru_cache(maxsize=2048)
def _regexp(pattern: str, value: str | None) -> bool:
    return value is not None and _compiled(pattern).fullmatch(value) is not None


# The cache of RE2 itself is slower than a match.
@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import re2  # noqa: PLC0415 - a proxy without searches does not need it

    return re2.compile(pattern)


@lru_cache(maxsize=1024)
def _in_network(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network)
    except ValueError:
        # Such as the empty address of a UNIX socket.
        return False


FUNCTIONS: Final = (("regexp", 2, _regexp), ("has_phrases", 4, has_phrases), ("in_network", 2, _in_network))
"""The name, the number of arguments, and the function of each."""
