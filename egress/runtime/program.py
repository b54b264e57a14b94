"""A service with its own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.application.service import MultiService
from twisted.logger import ILogObserver
from twisted.python.components import Componentized

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

    from egress.runtime.terminal import Terminal


class Listening(Protocol):
    """A service that reports whether it listens."""

    def setServiceParent(self, parent: object) -> None:
        """Attach the service to a parent (C{twisted.application.service.IService})."""

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Return the addresses on which it listens, or fail with the reason why it cannot listen."""

    def abort(self) -> None:
        """Abort the connections for which the stop of the service waits."""


class Manager(Protocol):
    """The service manager (L{egress.runtime.service_manager})."""

    def ready(self) -> None:
        """Report that the program listens."""

    def stopping(self) -> None:
        """Report that the program stops."""


class Program(MultiService):
    """A service with its own process, or several: it reports that it listens, or ends the process if it cannot listen.

    @param message: returns the message to print when it listens.
    @param fault: returns the message of one line to print if it cannot listen.
    @param stop: stops the reactor.
    @param started: is called when it listens, after the message.
    @param observer: the observer of the log; C{None}: that of C{twistd}.
    @param manager: the service manager, which learns that the program listens or stops.
    @param stopping: is called once the stop has begun, with a function that ends the wait for connections.
    """

    def __init__(
        self,
        service: Listening,
        *,
        message: Callable[[Sequence[IAddress]], str],
        fault: Callable[[BaseException | None], str],
        terminal: Terminal,
        stop: Callable[[], object],
        manager: Manager,
        observer: ILogObserver | None = None,
        started: Callable[[], object] = lambda: None,
        stopping: Callable[[Callable[[], object]], object] = lambda abort: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._service = service
        self._message = message
        self._fault_of = fault
        self._terminal = terminal
        self._stop = stop
        self._observer = observer
        self._started = started
        self._stopping = stopping
        self._manager = manager
        self._starting = False
        self._fault: str | None = None
        service.setServiceParent(self)

    def setServiceParent(self, parent: object) -> None:
        """Attach the program to the application of C{twistd}, which takes the observer of its log from a component."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start the service and report the result.

        @raise SystemExit: if a port cannot be bound.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._starting = True
        self._service.listening().addCallbacks(self._listens, self._failed)
        self._starting = False
        if self._fault is not None:
            self._terminal.give_up(self._fault)

    def _listens(self, addresses: Sequence[IAddress]) -> None:
        self._terminal.say(self._message(addresses))
        self._started()
        self._manager.ready()

    def stopService(self) -> Deferred[None]:
        """Report the stop, and stop the service."""
        self._manager.stopping()
        stopping: Deferred[None] = super().stopService()  # type: ignore[no-untyped-call]
        # Last, because it aborts the wait immediately if a second signal has arrived already.
        self._stopping(self._service.abort)
        return stopping

    def _failed(self, failure: Failure) -> None:
        self._fault = self._fault_of(failure.value)
        if not self._starting:
            # It is too late to abort the start: the reactor runs.  TCP and UNIX endpoints never fail at this point.
            self._terminal.complain(self._fault)
            self._stop()
