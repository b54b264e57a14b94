"""A service with a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.application.service import MultiService

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

    from egress.runtime.terminal import Terminal


class Listening(Protocol):
    """A service that tells whether it listens."""

    def setServiceParent(self, parent: object) -> None:
        """Become the child of another service (L{twisted.application.service.IService})."""

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Learn where it listens, or why it cannot."""


class Program(MultiService):
    """A service with a process of its own, or several: it says that it listens, or ends the process when it cannot.

    @param message: what is to be known once it listens.
    @param fault: what is to be known when it cannot, in one line.
    @param stop: ends the reactor.
    """

    def __init__(
        self,
        service: Listening,
        message: Callable[[Sequence[IAddress]], str],
        fault: Callable[[BaseException | None], str],
        terminal: Terminal,
        stop: Callable[[], object],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._service = service
        self._message = message
        self._fault_of = fault
        self._terminal = terminal
        self._stop = stop
        self._starting = False
        self._fault: str | None = None
        service.setServiceParent(self)

    def startService(self) -> None:
        """Start, and tell.

        @raise SystemExit: when a port cannot be bound.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._starting = True
        self._service.listening().addCallbacks(self._listens, self._failed)
        self._starting = False
        if self._fault is not None:
            self._terminal.give_up(self._fault)

    def _listens(self, addresses: Sequence[IAddress]) -> None:
        self._terminal.say(self._message(addresses))

    def _failed(self, failure: Failure) -> None:
        self._fault = self._fault_of(failure.value)
        if not self._starting:
            # Too late to end the start: the reactor runs.  The endpoints of TCP and UNIX sockets never come here.
            self._terminal.complain(self._fault)
            self._stop()
