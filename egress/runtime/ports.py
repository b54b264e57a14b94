"""The port binder: binds either all listening ports of a service, or none."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, UNIXServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from egress.config.systemd_socket import KIND
from egress.runtime.activation import ActivatedEndpoint
from egress.runtime.safe_files import check_socket_directory, remove_socket, socket_mode

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort
    from twisted.python.failure import Failure

    from egress.config.model import ProxyConfig

_log = Logger()


def settled(waiting: Sequence[Deferred[Any]]) -> Deferred[None]:
    """Wait for all Deferreds, regardless of their results."""
    return DeferredList(waiting, consumeErrors=True).addCallback(lambda _: None)


def described(reactor: object, description: str) -> IStreamServerEndpoint:
    """Create a server endpoint from its description.

    A UNIX socket in a directory in which every user can replace it is rejected.
    """
    if description.startswith(KIND):
        return ActivatedEndpoint(reactor, description)
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)  # type: ignore[no-untyped-call]
    if isinstance(endpoint, UNIXServerEndpoint):
        return _UnixEndpoint(endpoint)
    return endpoint


@implementer(IStreamServerEndpoint)
class _UnixEndpoint:
    """A UNIX socket that is created with its final mode."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def listen(self, factory: object) -> Deferred[IListeningPort]:
        """See C{IStreamServerEndpoint.listen}."""
        try:
            check_socket_directory(self._endpoint._address)  # noqa: SLF001 - Twisted has no other name for it
        except OSError as error:
            return fail(error)
        with socket_mode(self._endpoint._mode):  # noqa: SLF001 - as above
            listening: Deferred[IListeningPort] = self._endpoint.listen(factory)
            return listening


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(path)


def remove_stale_socket(path: str, connect: Callable[[str], object] = _connect) -> None:
    """Remove a UNIX socket and its lock file, if a process with this process's id left them behind.

    In a container the next process often has the same id, and would treat itself as the one that listens on the socket.
    """
    lock = f"{path}.lock"
    with suppress(OSError):
        if os.readlink(lock) != str(os.getpid()):
            return
        try:
            connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            remove_socket(path)
            os.unlink(lock)


def metrics_endpoint(reactor: object, interface: str, port: int | None) -> IStreamServerEndpoint | None:
    """Return the endpoint of the metrics, if they are served."""
    if port is None:
        return None
    kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    endpoint: IStreamServerEndpoint = kind(reactor, port, interface=interface)
    return endpoint


def admin_endpoint(reactor: object, config: ProxyConfig) -> IStreamServerEndpoint | None:
    """Return the endpoint of the admin API, if it is enabled."""
    if config.admin is None:
        return None
    if config.admin.path is not None:
        remove_stale_socket(config.admin.path)
    return described(reactor, config.admin.endpoint)


class PortBinder:
    """Binds ports.

    @param bound: called with each bound port.
    @ivar begun: whether L{listen} was called.
    """

    def __init__(self, bound: Callable[[IListeningPort], object] = lambda port: None) -> None:
        self._told = bound
        self._ports: list[IListeningPort] = []
        self._client_ports: list[IListeningPort] = []
        self._waiting: list[Deferred[tuple[IAddress, ...]]] = []
        self._result: tuple[IAddress, ...] | Failure | None = None
        self.begun = False

    def listen(self, pairs: Sequence[tuple[IStreamServerEndpoint, object]], shown: int) -> None:
        """Bind the ports, unless this was done before.

        @param pairs: endpoints with their factories, those for clients first.
        @param shown: the number of endpoints for clients, whose addresses L{listening} returns.
        """
        if self.begun:
            return
        self.begun = True
        binding = [
            self._bind(endpoint, factory, self._client_ports if at < shown else self._ports)
            for at, (endpoint, factory) in enumerate(pairs)
        ]
        gathered = gatherResults(binding, consumeErrors=True)
        gathered.addCallbacks(lambda ports: self._settle(tuple(port.getHost() for port in ports[:shown])), self._failed)

    def _bind(
        self, endpoint: IStreamServerEndpoint, factory: object, ports: list[IListeningPort]
    ) -> Deferred[IListeningPort]:
        def bound(port: IListeningPort) -> IListeningPort:
            ports.append(port)
            self._told(port)
            return port

        return endpoint.listen(factory).addCallback(bound)  # type: ignore[arg-type]

    def _failed(self, failure: Failure) -> None:
        # The first failure of the group; the bound ports are closed, because a partly available service would be
        # misleading.
        reason = failure.value.subFailure  # type: ignore[union-attr]
        _log.critical("cannot listen: {reason}", reason=reason.getErrorMessage())
        self.stop()
        self._settle(reason)

    def _settle(self, result: tuple[IAddress, ...] | Failure) -> None:
        self._result = result
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if isinstance(result, tuple):
                deferred.callback(result)
            else:
                deferred.errback(result)

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Return the addresses of the bound ports.

        @return: fires when all ports are bound; fails if one of them cannot be bound.
        """
        if isinstance(self._result, tuple):
            return succeed(self._result)
        if self._result is not None:
            return fail(self._result)
        waiting: Deferred[tuple[IAddress, ...]] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def stop_accepting(self) -> Deferred[None]:
        """Close the ports for clients."""
        return _close(self._client_ports)

    def stop(self) -> Deferred[None]:
        """Close all ports."""
        return settled([self.stop_accepting(), _close(self._ports)])


def _close(ports: list[IListeningPort]) -> Deferred[None]:
    closing = [maybeDeferred(port.stopListening) for port in ports]
    ports.clear()
    return settled(closing)
