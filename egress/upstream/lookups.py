"""Where the addresses of a name come from: the system, or the resolver of the application's reactor."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from egress.model.authority import IPAddress, parse_ip
from egress.runtime.threads import Offload
from egress.transport.reactor import IEgressReactor

Addresses = tuple[IPAddress, ...]


class Lookups(Protocol):
    """Looks names up.

    @ivar stoppable: whether cancelling a lookup ends it.  One that is not stoppable must not be cancelled: what it
        needs, such as a thread, is in use until it fires.
    """

    stoppable: bool

    def __call__(self, host: str) -> Deferred[Addresses]:
        """Look one up.

        @param host: a name, not an address.
        @return: fires with its addresses, each once, empty when there is none; or fails with
            L{egress.model.errors.NameNotResolved} or L{egress.model.errors.ResolutionTimeout}.
        """


def _distinct(texts: Iterable[str]) -> Addresses:
    """Read addresses, and leave out zones, which say nothing about an origin."""
    read = (parse_ip(text.partition("%")[0]) for text in texts)
    return tuple(dict.fromkeys(address for address in read if address is not None))


class SystemLookups:
    """Asks the system, in threads of their own.

    @param in_threads: runs C{getaddrinfo}, which blocks.
    """

    stoppable = False

    def __init__(self, in_threads: Offload) -> None:
        self._in_threads = in_threads

    def __call__(self, host: str) -> Deferred[Addresses]:
        """See L{Lookups}."""
        return self._in_threads(lambda: _by_system(host))


def _by_system(host: str) -> Addresses:
    try:
        # As bytes: Python would put text through its IDNA codec, which refuses labels that name servers know.
        found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return _distinct(str(address[0]) for _, _, _, _, address in found)


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects what a reactor's resolver finds."""

    def __init__(self) -> None:
        self.done: Deferred[Addresses] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        self.done.callback(_distinct(self._found))


class ReactorLookups:
    """Asks the resolver that an application has installed on its reactor."""

    stoppable = False

    def __init__(self, reactor: IEgressReactor) -> None:
        self._reactor = reactor

    def __call__(self, host: str) -> Deferred[Addresses]:
        """See L{Lookups}."""
        receiver = _Receiver()
        self._reactor.nameResolver.resolveHostName(receiver, host)
        return receiver.done
