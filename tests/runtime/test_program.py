"""Tests for L{egress.runtime.program}."""

from __future__ import annotations

import io
from collections.abc import Callable

from twisted.application.service import Application, IServiceCollection
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import FileLogObserver, ILogObserver
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.program import Program
from egress.runtime.terminal import Terminal
from tests.tap import ListeningService

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 8080)


class ProgramTests(SynchronousTestCase):
    """The process reports that the service listens, or ends."""

    def setUp(self) -> None:
        self.stopped: list[None] = []
        self.started: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.aborts: list[Callable[[], object]] = []
        self.terminal = Terminal(program="program", foreground=True, out=io.StringIO(), err=io.StringIO())

    def program(self, service: ListeningService, observer: ILogObserver | None = None) -> Program:
        return Program(
            service,
            message=lambda addresses: f"listens at {len(addresses)}\n",
            fault=lambda error: f"is told: {error}",
            terminal=self.terminal,
            stop=lambda: self.stopped.append(None),
            observer=observer,
            started=lambda: self.started.append(self.said()),
            manager=self,
            stopping=self.aborts.append,
        )

    def ready(self) -> None:
        self.told.append("ready")

    def stopping(self) -> None:
        self.told.append("stopping")

    def said(self) -> tuple[str, str]:
        return self.terminal.out.getvalue(), self.terminal.err.getvalue()  # type: ignore[attr-defined]

    def test_listens(self) -> None:
        service = ListeningService(succeed((LOOPBACK,)))
        self.program(service).startService()
        self.assertTrue(service.running)
        self.assertEqual((self.said(), self.stopped), (("listens at 1\n", ""), []))
        self.assertEqual(self.started, [("listens at 1\n", "")])

    def test_observer(self) -> None:
        """twistd takes the observer of the log from a component of the application."""
        observers: list[ILogObserver | None] = [None, FileLogObserver(io.StringIO(), str)]
        for observer in observers:
            application = Application("egressproxy")
            program = self.program(ListeningService(succeed((LOOPBACK,))), observer)
            program.setServiceParent(application)
            self.assertIs(application.getComponent(ILogObserver, None), observer)
            self.assertEqual(list(IServiceCollection(application)), [program])

    def test_cannot_listen(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            self.program(ListeningService(fail(OSError("taken")))).startService()
        self.assertEqual(caught.exception.code, 1)
        self.assertEqual(self.said(), ("", "program: is told: taken\n"))
        self.assertEqual(self.started, [])

    def test_listens_later(self) -> None:
        result: Deferred[tuple[IAddress, ...]] = Deferred()
        self.program(ListeningService(result)).startService()
        self.assertEqual(self.said(), ("", ""))
        self.assertEqual(self.told, [])
        result.callback((LOOPBACK,))
        self.assertEqual((self.said(), self.told), (("listens at 1\n", ""), ["ready"]))

    def test_stops(self) -> None:
        service = ListeningService(succeed((LOOPBACK,)))
        program = self.program(service)
        program.startService()
        self.assertEqual(self.aborts, [])
        program.stopService()
        self.assertEqual((self.told, self.aborts), (["ready", "stopping"], [service.abort]))

    def test_fails_later(self) -> None:
        result: Deferred[tuple[IAddress, ...]] = Deferred()
        self.program(ListeningService(result)).startService()
        result.errback(OSError("taken"))
        self.assertEqual((self.said(), self.stopped), (("", "program: is told: taken\n"), [None]))
