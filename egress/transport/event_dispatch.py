"""Events of the proxy's own transports, without the logging context of Twisted.

For each event, Twisted's reactor copies the logging context, adds the name of the transport to it, and calls three
nested functions. The context serves only C{twisted.python.log.msg}, which the proxy does not use; an error is logged
with it.

A reactor calls its method C{doIteration} once in each turn. L{EventDispatch} replaces the method in an epoll reactor,
which is the default on Linux. It passes hang-ups, and all events of other descriptors, to the reactor's own method.
Other reactors remain as they are.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.python import log
from twisted.python.failure import Failure

from egress.transport.write_through import WriteThroughConnection

# The values of select.EPOLLIN and select.EPOLLOUT, which systems without epoll do not have.
_READABLE: Final = 1
_WRITABLE: Final = 4
# The parts of the reactor on which this relies. Only its source documents them.
_PARTS: Final = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable")


class EventDispatch:
    """One turn of an epoll reactor: waits for events, and handles them.

    @param reactor: the reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poll = reactor._poller.poll  # noqa: SLF001
        self._descriptors: dict[int, Any] = reactor._selectables  # noqa: SLF001
        self._handle = reactor._doReadOrWrite  # noqa: SLF001
        self._disconnect = reactor._disconnectSelectable  # noqa: SLF001
        self._call: Any = log.callWithLogger

    def __call__(self, timeout: float | None) -> None:
        """Wait for events, and handle them.

        @param timeout: the maximum number of seconds to wait; C{None} to wait for any time.
        """
        descriptors = self._descriptors
        events = self._poll(-1 if timeout is None else timeout, len(descriptors))
        for number, event in events:
            # An event before may have closed it.
            descriptor = descriptors.get(number)
            if descriptor is None:
                continue
            if (event & _READABLE or event == _WRITABLE) and isinstance(descriptor, WriteThroughConnection):
                self._process(descriptor, event)
            else:
                self._call(descriptor, self._handle, descriptor, number, event)

    def _process(self, descriptor: Any, event: int) -> None:
        """Handle an event, with the same results as in Twisted's C{_doReadOrWrite}."""
        end: Any = None
        reading = False
        try:
            if event & _READABLE:
                end = descriptor.doRead()
                reading = True
            if not end and event & _WRITABLE:
                end = descriptor.doWrite()
                reading = False
        except BaseException as error:  # noqa: BLE001 - as in Twisted: it does not end the other connections
            self._call(descriptor, self._fail, descriptor, error)
            return
        if end:
            try:
                self._disconnect(descriptor, end, reading)
            except BaseException:  # noqa: BLE001 - likewise
                self._call(descriptor, log.err)

    def _fail(self, descriptor: Any, error: BaseException) -> None:
        log.err(Failure(error))  # type: ignore[no-untyped-call]
        self._disconnect(descriptor, error, False)


def dispatch_events(reactor: Any) -> None:
    """Use L{EventDispatch} in a reactor, if it is Twisted's epoll reactor, and has its parts."""
    kind = type(reactor)
    if f"{kind.__module__}.{kind.__qualname__}" != "twisted.internet.epollreactor.EPollReactor":
        return
    if not isinstance(reactor.doIteration, EventDispatch) and all(hasattr(reactor, part) for part in _PARTS):
        reactor.doIteration = EventDispatch(reactor)
