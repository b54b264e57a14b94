"""One of several workers: the program that C{twistd egressproxy --workers N} runs N times.

It has its orders from its parent, on a line that it inherits, together with the listening sockets.  It drains when the
parent says so, or at a SIGTERM that a supervisor sends to everybody, and ends at once when the parent is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import ReactorNotRunning
from twisted.logger import FileLogObserver, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from egress.config.model import ConfigError
from egress.observability.health import Readiness
from egress.observability.worker_aggregation import to_json
from egress.runtime.global_reactor import global_reactor
from egress.runtime.signals import read_anew
from egress.service import CUT_SECONDS, EgressProxyService
from egress.transport.write_through import write_through
from egress.workers.ipc import (
    ANSWER,
    CHECKS,
    CONTROL,
    DRAIN,
    EXPLAIN,
    FAILED,
    FIRST_LISTENER,
    HELD,
    NUMBERS,
    PERMIT,
    READY,
    RELOAD,
    REVOKE,
    SERVE,
    Channel,
    WorkerSpec,
    adopt,
    receive_spec,
    send_frame,
    telling,
)


class Worker:
    """A proxy on sockets that were handed down.

    @param proxy: the proxy.
    @param leave: ends the process, whatever is left of it.
    """

    def __init__(self, reactor: Any, proxy: EgressProxyService, leave: Callable[[], object]) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._leave = leave
        readiness = Readiness(reactor, proxy.checks)
        desk = proxy.desk
        answers: dict[str, Callable[..., object]] = {
            NUMBERS: self._numbers,
            CHECKS: readiness.ask,
            HELD: desk.held,
            ANSWER: desk.answer_over,
            PERMIT: desk.permit_over,
            REVOKE: desk.revoke,
            EXPLAIN: desk.explain_over,
        }
        self.channel = Channel(self._told, self._parent_gone, answers)

    def start(self) -> None:
        """Tell the parent, once the reactor runs, that all is there but its word."""
        self._reactor.addSystemEventTrigger("before", "shutdown", self._proxy.stopService)
        self.channel.send(READY)

    def _serve(self) -> None:
        self._proxy.startService()
        self._proxy.listening().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.channel.send(FAILED, failure.getErrorMessage())
        # When that has gone out, so does the line, and the process.
        self.channel.close()

    def terminated(self, number: int, frame: object) -> None:
        """Drain, at SIGTERM."""
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        # A supervisor's signal and the parent's word come together.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _told(self, word: str, text: str) -> None:
        if word == SERVE:
            self._serve()
        elif word == DRAIN:
            self._end()
        elif word == RELOAD:
            read_anew(self._proxy.reload)

    def _numbers(self) -> object:
        return to_json(self._proxy.metrics.registry.collect())

    def _parent_gone(self) -> None:
        # Whoever starts the next parent wants the ports, and nobody is there to end this process later on.
        self._reactor.callLater(CUT_SECONDS, self._leave)
        self._end()
        self._proxy.cut()


def endpoints(reactor: Any, orders: WorkerSpec) -> list[AdoptedStreamServerEndpoint]:
    """The endpoints for the sockets that were handed down."""
    return [
        AdoptedStreamServerEndpoint(reactor, FIRST_LISTENER + index, family)  # type: ignore[no-untyped-call]
        for index, family in enumerate(orders.families)
    ]


def _log_to(stream: TextIO) -> None:
    """Log without the time: the parent, who reads it, knows it."""

    def as_text(event: Any) -> str:
        text = eventAsText(event, includeTimestamp=False)
        return f"{text}\n" if text else ""

    # What anything prints goes there too: standard output may be the audit log.
    globalLogBeginner.beginLoggingTo([FileLogObserver(stream, as_text)])


def main() -> None:
    """Run a worker on the descriptors that L{egress.workers.service} hands down."""
    line = socket.socket(fileno=CONTROL)
    orders = receive_spec(line)
    # A terminal or a supervisor sends these to the parent too, and the parent says what is to be done.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _log_to(sys.stderr)
    import_module(orders.reactor).install()
    reactor = global_reactor()
    try:
        handed_down = endpoints(write_through(reactor), orders)
        proxy = EgressProxyService(
            reactor,
            orders.config,
            endpoints=handed_down,
            approval_key=orders.approval_key,
        )
    except ConfigError as error:
        send_frame(line, telling(FAILED, str(error)))
        raise SystemExit(1) from error
    worker = Worker(reactor, proxy, lambda: os._exit(1))
    adopt(reactor, line, worker.channel)

    def start() -> None:
        # In place of the reactor's own, which would complain that the parent's word has come first.
        signal.signal(signal.SIGTERM, worker.terminated)
        worker.start()

    reactor.callWhenRunning(start)
    reactor.run()


if __name__ == "__main__":
    main()
