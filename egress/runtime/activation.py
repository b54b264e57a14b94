"""Socket activation: the listening sockets that systemd has opened and passed to this process.

The sockets stay open while the service restarts, so the connections of clients wait and are not refused.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet import endpoints
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from zope.interface import implementer

from egress.config.model import ConfigError
from egress.config.systemd_socket import InvalidSocket, SystemdSocket

_FAMILIES: Final = {"INET": socket.AF_INET, "INET6": socket.AF_INET6, "UNIX": socket.AF_UNIX}
_NOT_PASSED: Final = "systemd passed no socket to this process: start it with a .socket unit"


def _open_descriptor(descriptor: int) -> socket.socket:
    return socket.socket(fileno=descriptor)


@attrs.frozen
class Passed:
    """The sockets that this process inherited.

    @ivar descriptors: the descriptors, in the order of the C{.socket} unit.
    @ivar names: the C{FileDescriptorName} of each; empty if there are no names.
    @ivar open: makes the socket of a descriptor.
    """

    descriptors: Sequence[int] = ()
    names: Sequence[str] = ()
    open: Callable[[int], socket.socket] = _open_descriptor

    @classmethod
    def to_this_process(cls) -> Passed:
        """Return the sockets of this process.

        Twisted takes the variables out of the environment when it is imported.
        """
        found = endpoints._SystemdParser._sddaemon  # noqa: SLF001 - as above
        return cls(found.inheritedDescriptors(), found._names)  # noqa: SLF001 - the public method merges equal names


@attrs.frozen
class Inherited:
    """The sockets of one listener.

    @ivar family: the address family, such as C{AF_INET}.
    @ivar address: the address to which they are bound.
    @ivar sockets: one socket; or several on one port, for as many workers (C{ReusePort=}).
    """

    family: int
    address: IAddress
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Close the descriptors of this process."""
        for each in self.sockets:
            each.close()


def _invalid(description: str, remedy: str) -> ConfigError:
    return ConfigError("--listen", description, remedy)


def inherited(description: str, passed: Passed | None = None) -> Inherited:
    """Take the sockets of a description.

    @param description: the description (L{egress.config.systemd_socket}).
    @param passed: the sockets of this process.
    @raise ConfigError: if there is no such socket, or if it is not a listening stream socket.
    """
    passed = Passed.to_this_process() if passed is None else passed
    try:
        chosen = SystemdSocket.parse(description)
    except InvalidSocket as error:
        raise _invalid(description, str(error)) from error
    opened: list[socket.socket] = []
    try:
        for descriptor in _chosen(description, chosen, passed):
            opened.append(_listening(description, descriptor, passed))
        addresses = {each.getsockname() for each in opened}
        if len(addresses) > 1:
            raise _invalid(description, "is the name of several addresses: select each by systemd:index=N")
        family = opened[0].family
        if chosen.domain is not None and _FAMILIES.get(chosen.domain) != family:
            raise _invalid(description, f"is not a socket of the domain {chosen.domain}: remove domain=")
        return Inherited(family, _address(family, addresses.pop()), tuple(opened))
    except BaseException:
        for each in opened:
            each.close()
        raise


def _chosen(description: str, chosen: SystemdSocket, passed: Passed) -> list[int]:
    if not passed.descriptors:
        raise _invalid(description, _NOT_PASSED)
    if chosen.index is not None:
        if chosen.index >= len(passed.descriptors):
            raise _invalid(description, f"the index must be a number from 0 to {len(passed.descriptors) - 1}")
        return [passed.descriptors[chosen.index]]
    names = ", ".join(dict.fromkeys(passed.names))
    if chosen.name is None:
        if len(set(passed.names)) > 1:
            raise _invalid(description, f"systemd passed several sockets: select one by systemd:name= ({names})")
        return list(passed.descriptors)
    pairs = zip(passed.descriptors, passed.names, strict=False)
    named = [descriptor for descriptor, name in pairs if name == chosen.name]
    if not named:
        remedy = f"systemd passed {names or 'sockets without names'}: use FileDescriptorName= in the .socket unit"
        raise _invalid(description, remedy)
    return named


def _listening(description: str, descriptor: int, passed: Passed) -> socket.socket:
    try:
        opened = passed.open(descriptor)
    except OSError as error:
        remedy = f"descriptor {descriptor} is not a socket, or another --listen uses it ({error.strerror})"
        raise _invalid(description, remedy) from error
    if opened.type != socket.SOCK_STREAM or not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        opened.close()
        raise _invalid(description, "does not listen for streams: use ListenStream= and Accept=no in the .socket unit")
    opened.setblocking(False)
    return opened


def _address(family: int, name: Any) -> IAddress:
    if family == socket.AF_UNIX:
        return UNIXAddress(name if isinstance(name, bytes) else name.encode())
    return (IPv4Address if family == socket.AF_INET else IPv6Address)("TCP", name[0], name[1])


@implementer(IStreamServerEndpoint)
class ActivatedEndpoint:
    """An inherited socket as an endpoint of a single process."""

    def __init__(self, reactor: Any, description: str, passed: Passed | None = None) -> None:
        self._reactor = reactor
        self._description = description
        self._passed = passed

    def listen(self, factory: object) -> Deferred[IListeningPort]:
        """Accept connections of the socket (C{IStreamServerEndpoint.listen})."""
        try:
            found = inherited(self._description, self._passed)
        except ConfigError as error:
            return fail(error)
        if len(found.sockets) > 1:
            found.close()
            number = len(found.sockets)
            return fail(_invalid(self._description, f"{number} sockets share this port: set --workers {number}"))
        with found.sockets[0] as opened:
            # The reactor has its own descriptor.
            return maybeDeferred(self._reactor.adoptStreamPort, opened.fileno(), found.family, factory)
