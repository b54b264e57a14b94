"""The sources of a name's addresses: the system, or the resolver of the application's reactor."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import classImplements

from egress.model.authority import IPAddress, parse_ip
from egress.runtime.threads import Offload
from egress.transport.reactor import IEgressReactor

Addresses = tuple[IPAddress, ...]


class Lookups(Protocol):
    """Looks up names.

    @ivar stoppable: whether cancelling a lookup ends it.  A lookup that is not stoppable must not be cancelled: it
        occupies resources, such as a thread, until it fires.
    """

    stoppable: bool

    def __call__(self, host: str) -> Deferred[Addresses]:
        """Look up a name.

        @param host: a name, not an address.
        @return: fires with its distinct addresses, or an empty tuple if there are none; or fails with
            L{egress.model.errors.NameNotResolved} or L{egress.model.errors.ResolutionTimeout}.
        """


def _distinct(texts: Iterable[str]) -> Addresses:
    """Parse addresses and drop their zones, which are meaningless for an origin."""
    read = (parse_ip(text.partition("%")[0]) for text in texts)
    return tuple(dict.fromkeys(address for address in read if address is not None))


class SystemLookups:
    """Queries the system in separate threads.

    @param in_threads: runs C{getaddrinfo}, which blocks.
    """

    stoppable = False

    def __init__(self, in_threads: Offload) -> None:
        self._in_threads = in_threads

    def __call__(self, host: str) -> Deferred[Addresses]:
        """See L{Lookups}."""
        return self._in_threads(partial(_by_system, host))


def _by_system(host: str) -> Addresses:
    try:
        # As bytes: Python would pass a string through its IDNA codec, which rejects labels that DNS servers accept.
        found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return _distinct(str(address[0]) for _, _, _, _, address in found)


class _Receiver:
    """Collects the results of a reactor's resolver."""

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


# Not as a decorator, which would prevent the compilation of the class.
classImplements(_Receiver, IResolutionReceiver)


class ReactorLookups:
    """Queries the resolver that an application has installed on its reactor."""

    stoppable = False

    def __init__(self, reactor: IEgressReactor) -> None:
        self._reactor = reactor

    def __call__(self, host: str) -> Deferred[Addresses]:
        """See L{Lookups}."""
        receiver = _Receiver()
        self._reactor.nameResolver.resolveHostName(receiver, host)
        return receiver.done
