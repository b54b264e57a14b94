"""What a listening port makes for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import ServerFactory

from egress.net.admission import OPEN, Door
from egress.net.server import HttpSession

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from egress.net.parts import Parts


class ProxyFactory(ServerFactory):
    """Makes a session for each client connection.

    @param door: what is asked of clients here.
    """

    noisy = False

    def __init__(self, parts: Parts, door: Door = OPEN) -> None:
        self._parts = parts
        self._door = door

    def buildProtocol(self, addr: IAddress | None) -> HttpSession:
        """Begin a session."""
        return HttpSession(self._parts, door=self._door)
