"""The listening sockets of several workers, which their supervisor binds and keeps open while it runs.

All workers accept from one socket for each endpoint, and balance the connections among them
(L{egress.workers.accept_balance}).  The supervisor never accepts, but it keeps the sockets open, so connections in the
backlog are accepted by another worker, or by the successor of a worker that died.  The same applies to a socket that
systemd passed, unless systemd passed one for each worker.

Ports are bound first, which may need privileges, and listen once the workers are ready: until then connections are
refused, as before the proxy starts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock

from egress.config.model import ConfigError
from egress.config.systemd_socket import KIND
from egress.runtime.activation import Passed, inherited
from egress.runtime.safe_files import check_socket_directory, remove_socket, socket_mode
from egress.transport.tcp_reactor import BACKLOG, TWISTED_BACKLOG

# For other kinds, serverFromString may do more with a port than listen on it.
_KINDS: Final = ("tcp:", "tcp6:", "unix:", KIND)

_SocketAddress = tuple[Any, ...]

MakeSocket = Callable[[int], socket.socket]


def make_stream(family: int) -> socket.socket:
    """Make a stream socket."""
    return socket.socket(family, socket.SOCK_STREAM)


@attrs.frozen
class SharedListener:
    """One endpoint.

    @ivar family: the address family, such as C{AF_INET}.
    @ivar address: the bound address.
    @ivar sockets: the socket of each worker; usually all are the same.
    @ivar backlog: the length of the backlog of each socket; C{None}: the sockets listen already.
    """

    family: int
    address: IAddress
    sockets: tuple[socket.socket, ...]
    backlog: int | None

    @property
    def shared(self) -> bool:
        """Whether all workers accept from one socket."""
        return len(set(self.sockets)) == 1

    def listen(self) -> None:
        """Listen for connections."""
        if self.backlog is None:
            return
        for each in dict.fromkeys(self.sockets):
            each.listen(self.backlog)

    def close(self) -> None:
        """Close the supervisor's descriptors."""
        for each in self.sockets:
            each.close()


class SharedListeners:
    """All endpoints of a proxy, bound for a number of workers.

    @param descriptions: the endpoint descriptions of C{ProxyConfig.listen}.
    @param passed: the sockets that systemd passed; C{None}: the sockets of this process.
    @raise ConfigError: for an endpoint that cannot be shared.
    """

    def __init__(
        self,
        descriptions: Sequence[str],
        workers: int,
        make_socket: MakeSocket = make_stream,
        passed: Passed | None = None,
    ) -> None:
        for description in descriptions:
            if not description.startswith(_KINDS):
                raise ConfigError(
                    "--listen", description, "several workers support only tcp:, tcp6:, unix: and systemd: endpoints"
                )
        self._descriptions = descriptions
        self._workers = workers
        self._make_socket = make_socket
        self._passed = passed
        self._bound: list[SharedListener] = []
        self._release: list[Callable[[], None]] = []

    @property
    def addresses(self) -> tuple[IAddress, ...]:
        """The bound addresses, in the order of the descriptions."""
        return tuple(listener.address for listener in self._bound)

    def bind(self) -> None:
        """Bind every endpoint.

        @raise CannotListenError: when one cannot be bound; then all are closed.
        @raise ConfigError: when systemd did not pass a socket; then all are closed.
        """
        failures: list[Failure] = []
        for description in self._descriptions:
            if description.startswith(KIND):
                self._inherit(description)
                continue
            # Twisted's endpoints parse the description; this object acts as the reactor that they listen with.
            endpoint = serverFromString(self, description)  # type: ignore[no-untyped-call]
            endpoint.listen(None).addCallbacks(self._bound.append, failures.append)
            if failures:
                self.close()
                failures[0].raiseException()

    def _inherit(self, description: str) -> None:
        try:
            found = inherited(description, self._passed)
            number = len(found.sockets)
            if number not in (1, self._workers):
                found.close()
                raise ConfigError("--listen", description, f"{number} sockets share this port: set --workers {number}")
        except ConfigError:
            self.close()
            raise
        sockets = found.sockets * self._workers if number == 1 else found.sockets
        self._bound.append(SharedListener(found.family, found.address, sockets, None))

    def listen(self) -> None:
        """Listen on all of them.

        @raise CannotListenError: when one cannot listen; then all are closed.
        """
        for listener in self._bound:
            try:
                listener.listen()
            except OSError as error:
                self.close()
                address: Any = listener.address
                if listener.family == socket.AF_UNIX:
                    raise _fault(None, os.fsdecode(address.name), error) from error
                # Two proxies that start at the same time can both bind the port: the first one to listen wins.
                raise _fault(address.host, address.port, error) from error

    def of(self, worker: int) -> list[tuple[int, int]]:
        """Return the family and descriptor of each socket of one worker, in the order of the descriptions."""
        return [(listener.family, listener.sockets[worker].fileno()) for listener in self._bound]

    @property
    def shared(self) -> tuple[bool, ...]:
        """Whether all workers accept from one socket, in the order of the descriptions."""
        return tuple(listener.shared for listener in self._bound)

    def close(self) -> None:
        """Close the supervisor's descriptors: once the workers have closed theirs, the ports are closed."""
        bound, self._bound = self._bound, []
        release, self._release = self._release, []
        for listener in bound:
            listener.close()
        for let_go in release:
            let_go()

    # -- the reactor interface that endpoints call

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> SharedListener:
        """Bind one socket for all workers (C{twisted.internet.interfaces.IReactorTCP.listenTCP})."""
        try:
            family, address = _socket_address(interface, port)
            made = self._tcp(family, address)
        except OSError as error:
            raise _fault(interface, port, error) from error
        backlog = BACKLOG if backlog == TWISTED_BACKLOG else backlog
        return SharedListener(family, _address(family, made), (made,) * self._workers, backlog)

    def _tcp(self, family: int, address: _SocketAddress) -> socket.socket:
        made = self._make_socket(family)
        try:
            made.setblocking(False)
            # As in Twisted: remaining connections of a proxy that has ended do not prevent binding.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
        return made

    def listenUNIX(
        self, address: str, factory: object, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> SharedListener:
        """Bind one socket for all workers (C{twisted.internet.interfaces.IReactorUNIX.listenUNIX})."""
        if wantPID:
            self._lock(address)
        made = self._make_socket(socket.AF_UNIX)
        try:
            made.setblocking(False)
            check_socket_directory(address)
            with socket_mode(mode):
                made.bind(address)
            self._release.insert(0, lambda: _remove(address))
        except OSError as error:
            made.close()
            raise _fault(None, address, error) from error
        return SharedListener(socket.AF_UNIX, UNIXAddress(os.fsencode(address)), (made,) * self._workers, backlog)

    def _lock(self, address: str) -> None:
        """Check that no other Twisted process listens, and remove the socket of one that crashed."""
        lock = FilesystemLock(f"{address}.lock")  # type: ignore[no-untyped-call]
        try:
            if not lock.lock():  # type: ignore[no-untyped-call]
                raise _fault(None, address, "another process listens on this socket")
        except OSError as error:
            raise _fault(None, address, error) from error
        self._release.append(lock.unlock)
        if not lock.clean:
            with suppress(OSError):
                remove_socket(address)


def _fault(interface: str | None, port: int | str, error: object) -> CannotListenError:
    fault: CannotListenError = CannotListenError(interface, port, error)  # type: ignore[no-untyped-call]
    return fault


def _address(family: int, bound: socket.socket) -> IAddress:
    host, port = bound.getsockname()[:2]
    return (IPv4Address if family == socket.AF_INET else IPv6Address)("TCP", host, port)


def _socket_address(interface: str, port: int) -> tuple[int, _SocketAddress]:
    if ":" not in interface:
        return socket.AF_INET, (interface, port)
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    # An address may have a scope: fe80::1%eth0.
    found = socket.getaddrinfo(interface, port, socket.AF_INET6, socket.SOCK_STREAM, 0, flags)
    return socket.AF_INET6, found[0][4]


def _remove(path: str) -> None:
    with suppress(OSError):
        remove_socket(path)
