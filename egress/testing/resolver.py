"""A resolver with a fixed table of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer


@implementer(IHostnameResolver)
class FixedResolver:
    """Resolves the names in a table, and no other name.

    @ivar names: the addresses of each name; a test can change them at any time.
    @ivar queried: the names that were resolved, in order.  A proxy resolves a name only after it allowed the request.
    """

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self.names: dict[str, Sequence[str]] = dict(names or {})
        self.queried: list[str] = []

    def resolveHostName(  # type: ignore[override]
        self, receiver: Any, hostName: str, portNumber: int = 0, *args: Any, **more: Any
    ) -> Any:
        """Resolve a name; see C{IHostnameResolver}."""
        self.queried.append(hostName)
        receiver.resolutionBegan(None)
        for text in self.names.get(hostName, ()):
            kind = IPv6Address if ":" in text else IPv4Address
            receiver.addressResolved(kind("TCP", text, portNumber))
        receiver.resolutionComplete()
        return receiver
