"""What a listening port makes for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import ServerFactory

from egress.net.server import HttpSession

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from egress.net.parts import Parts


class ProxyFactory(ServerFactory):
    """Makes a session for each client connection."""

    noisy = False

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def buildProtocol(self, addr: IAddress | None) -> HttpSession:
        """Begin a session."""
        return HttpSession(self._parts)
