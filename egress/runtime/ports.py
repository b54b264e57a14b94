"""The listening ports of a service: all of them, or none."""

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

from egress.runtime.safe_files import check_socket_directory, remove_socket, socket_mode

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort
    from twisted.python.failure import Failure

_log = Logger()


def settled(waiting: Sequence[Deferred[Any]]) -> Deferred[None]:
    """Wait for all, whatever becomes of each."""
    return DeferredList(waiting, consumeErrors=True).addCallback(lambda _: None)


def described(reactor: object, description: str) -> IStreamServerEndpoint:
    """Make a server endpoint from its description.

    A UNIX socket in a directory in which everybody may replace it is not bound.
    """
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)  # type: ignore[no-untyped-call]
    if isinstance(endpoint, UNIXServerEndpoint):
        return _UnixEndpoint(endpoint)
    return endpoint


@implementer(IStreamServerEndpoint)
class _UnixEndpoint:
    """A UNIX socket that has its mode from the moment in which it is created."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def listen(self, factory: object) -> Deferred[IListeningPort]:
        """See L{IStreamServerEndpoint.listen}."""
        try:
            check_socket_directory(self._endpoint._address)
        except OSError as error:
            return fail(error)
        with socket_mode(self._endpoint._mode):
            listening: Deferred[IListeningPort] = self._endpoint.listen(factory)
            return listening


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        probe.connect(path)


def remove_left_behind(path: str, connect: Callable[[str], object] = _connect) -> None:
    """Remove a UNIX socket, and its lock, that were left behind by a process with our number.

    In a container the next process often has the same one: it would take itself for the one that listens there.
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
    """Where metrics are served, if anywhere."""
    if port is None:
        return None
    kind = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    endpoint: IStreamServerEndpoint = kind(reactor, port, interface=interface)
    return endpoint


class PortBinder:
    """Binds ports.

    @param bound: is told of each port that is bound.
    @ivar begun: whether that was begun.
    """

    def __init__(self, bound: Callable[[IListeningPort], object] = lambda port: None) -> None:
        self._told = bound
        self._ports: list[IListeningPort] = []
        self._waiting: list[Deferred[tuple[IAddress, ...]]] = []
        self._result: tuple[IAddress, ...] | Failure | None = None
        self.begun = False

    def listen(self, pairs: Sequence[tuple[IStreamServerEndpoint, object]], shown: int) -> None:
        """Bind, unless that was begun already.

        @param pairs: endpoints, each with what it serves.
        @param shown: of how many of them L{listening} gives the addresses.
        """
        if self.begun:
            return
        self.begun = True
        binding = [self._bind(endpoint, factory) for endpoint, factory in pairs]
        gathered = gatherResults(binding, consumeErrors=True)
        gathered.addCallbacks(lambda ports: self._settle(tuple(port.getHost() for port in ports[:shown])), self._failed)

    def _bind(self, endpoint: IStreamServerEndpoint, factory: object) -> Deferred[IListeningPort]:
        def bound(port: IListeningPort) -> IListeningPort:
            self._ports.append(port)
            self._told(port)
            return port

        return endpoint.listen(factory).addCallback(bound)  # type: ignore[arg-type]

    def _failed(self, failure: Failure) -> None:
        # The first failure of the group; what did get bound is let go, so that nobody takes half of it for the whole.
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
        """Learn the addresses.

        @return: fires once all ports are bound; fails when one cannot be.
        """
        if isinstance(self._result, tuple):
            return succeed(self._result)
        if self._result is not None:
            return fail(self._result)
        waiting: Deferred[tuple[IAddress, ...]] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def stop(self) -> Deferred[None]:
        """Let go of the ports."""
        ports, self._ports = self._ports, []
        return settled([maybeDeferred(port.stopListening) for port in ports])
