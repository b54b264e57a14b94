"""Tests for L{egress.runtime.service_manager}."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.service_manager import ServiceManager, send_datagram

SOCKET = {"NOTIFY_SOCKET": "/run/systemd/notify"}


class ServiceManagerTests(SynchronousTestCase):
    """The states that are reported."""

    def make(self, **environ: str) -> ServiceManager:
        self.clock = Clock()
        self.sent: list[str] = []
        self.environ = environ

        def send(address: str, state: str) -> None:
            self.assertEqual(address, "/run/systemd/notify")
            self.sent.append(state)

        return ServiceManager(self.clock, 7, environ, send, lambda: 1.5)

    def test_states(self) -> None:
        manager = self.make(**SOCKET, PATH="/bin")
        self.assertEqual(self.environ, {"PATH": "/bin"}, "child processes do not inherit them")
        manager.ready()
        manager.stopping()
        self.assertEqual(self.sent, ["READY=1", "STOPPING=1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_manager(self) -> None:
        manager = self.make(WATCHDOG_USEC="2000000")
        manager.ready()
        manager.stopping()
        self.assertEqual(self.sent, [])

    def test_reload(self) -> None:
        manager = self.make(**SOCKET)
        for result in (None, ValueError("the policy is invalid")):
            reload: Deferred[Any] = Deferred()
            done = manager.reloading(lambda reload=reload: reload)  # type: ignore[misc]
            self.assertEqual(self.sent, ["RELOADING=1\nMONOTONIC_USEC=1500000"])
            if result is None:
                reload.callback(None)
                self.successResultOf(done)
            else:
                reload.errback(result)
                self.failureResultOf(done, ValueError)
            self.assertEqual(self.sent.pop(), "READY=1")
            self.sent.clear()

    def test_watchdog(self) -> None:
        for owner in ("", "7"):
            manager = self.make(**SOCKET, WATCHDOG_USEC="2000000", WATCHDOG_PID=owner)
            self.clock.advance(5)
            manager.ready()
            self.clock.pump([1, 1])
            manager.ready()
            self.clock.advance(1)
            self.assertEqual(self.sent, ["READY=1", *["WATCHDOG=1"] * 3, "READY=1", "WATCHDOG=1"])
        self.assertEqual(self.environ, {})

    def test_watchdog_of_another_process(self) -> None:
        manager = self.make(**SOCKET, WATCHDOG_USEC="2000000", WATCHDOG_PID="8")
        manager.ready()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DatagramTests(SynchronousTestCase):
    """The datagram."""

    def setUp(self) -> None:
        self.error: OSError | None = None
        self.sent: list[tuple[bytes, str]] = []
        self.patch(socket, "socket", lambda family, kind: self)

    def __enter__(self) -> DatagramTests:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def setblocking(self, flag: bool) -> None:
        self.assertFalse(flag)

    def sendto(self, data: bytes, address: str) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, address))

    def test_addresses(self) -> None:
        send_datagram("/run/notify", "READY=1")
        send_datagram("@notify", "READY=1")
        self.assertEqual(self.sent, [(b"READY=1", "/run/notify"), (b"READY=1", "\0notify")])
        self.assertTrue(self.closed)

    def test_no_listener(self) -> None:
        self.error = OSError(errno.ECONNREFUSED, "Connection refused")
        send_datagram("/run/notify", "READY=1")
        self.assertEqual(self.sent, [])
