"""Tests for L{egress.runtime.ports}."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.ports import PortBinder, described, metrics_endpoint, remove_stale_socket, settled


class Port:
    """A bound port."""

    def __init__(self, number: int) -> None:
        self.address = IPv4Address("TCP", "127.0.0.1", number)
        self.open = True

    def getHost(self) -> IPv4Address:
        return self.address

    def stopListening(self) -> None:
        self.open = False


class Endpoint:
    """An endpoint that is bound when a test completes it."""

    def __init__(self, result: Deferred[Any]) -> None:
        self.result = result
        self.factories: list[object] = []

    def listen(self, factory: object) -> Deferred[Any]:
        self.factories.append(factory)
        return self.result


class StaleSocketTests(SynchronousTestCase):
    """Files that a killed process left at the path of a UNIX socket."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        os.mknod(self.path, stat.S_IFSOCK | 0o600)
        self.lock = Path(f"{self.path}.lock")
        self.tried: list[str] = []

    def tidy(self, owner: object, fault: OSError | None = None) -> bool:
        """Return whether the socket still exists."""
        self.lock.symlink_to(str(owner))

        def connect(path: str) -> None:
            self.tried.append(path)
            if fault is not None:
                raise fault

        remove_stale_socket(str(self.path), connect)
        self.assertEqual(self.path.exists(), self.lock.is_symlink())
        return self.path.exists()

    def test_same_process_id(self) -> None:
        """In a container the next process has the same id, and would treat itself as the one that listens."""
        self.assertFalse(self.tidy(os.getpid(), ConnectionRefusedError()))
        self.assertEqual(self.tried, [str(self.path)])

    def test_socket_is_in_use(self) -> None:
        """Another service of this process listens on it."""
        self.assertTrue(self.tidy(os.getpid()))

    def test_unknown_state(self) -> None:
        self.assertTrue(self.tidy(os.getpid(), BlockingIOError()))

    def test_other_process_id(self) -> None:
        """Twisted's lock decides between two running processes."""
        self.assertTrue(self.tidy(os.getpid() + 1, ConnectionRefusedError()))
        self.assertEqual(self.tried, [])

    def test_socket_is_missing(self) -> None:
        self.path.unlink()
        self.assertFalse(self.tidy(os.getpid(), FileNotFoundError()))

    def test_no_files(self) -> None:
        remove_stale_socket(str(self.path), self.tried.append)
        self.assertEqual((self.path.exists(), self.tried), (True, []))


BUSY = CannotListenError("127.0.0.1", 80, OSError(98, "Address already in use"))


class PortBinderTests(SynchronousTestCase):
    """Either all ports are bound, or none."""

    def bind(self, *endpoints: Endpoint, shown: int = 1) -> PortBinder:
        self.told: list[object] = []
        binding = PortBinder(self.told.append)
        binding.listen([(endpoint, f"factory {at}") for at, endpoint in enumerate(endpoints)], shown)  # type: ignore[misc]
        return binding

    def test_bound(self) -> None:
        first, second = Port(80), Port(81)
        endpoints = Endpoint(succeed(first)), Endpoint(succeed(second))
        binding = self.bind(*endpoints)
        self.assertEqual(self.successResultOf(binding.listening()), (first.address,))
        self.assertEqual(self.told, [first, second])
        self.assertEqual([endpoint.factories for endpoint in endpoints], [["factory 0"], ["factory 1"]])
        binding.listen([], 0)
        self.successResultOf(binding.stop())
        self.assertFalse(first.open or second.open)

    def test_bound_later(self) -> None:
        result: Deferred[Any] = Deferred()
        binding = self.bind(Endpoint(result))
        waiting, given_up = binding.listening(), binding.listening()
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        self.assertNoResult(waiting)
        port = Port(80)
        result.callback(port)
        self.assertEqual(self.successResultOf(waiting), (port.address,))

    def test_port_in_use(self) -> None:
        """The bound ports are closed, and all callers get the error."""
        port = Port(81)
        result: Deferred[Any] = Deferred()
        binding = self.bind(Endpoint(succeed(port)), Endpoint(result))
        waiting = binding.listening()
        with capturedLogs() as events:
            result.errback(BUSY)
        self.assertIs(self.failureResultOf(waiting).value, BUSY)
        self.assertIs(self.failureResultOf(binding.listening()).value, BUSY)
        self.assertFalse(port.open)
        self.assertIn("Address already in use", events[0]["reason"])

    def test_settled(self) -> None:
        first: Deferred[None] = Deferred()
        waiting = settled([first, fail(BUSY)])
        self.assertNoResult(waiting)
        first.callback(None)
        self.assertIsNone(self.successResultOf(waiting))

    def test_endpoints(self) -> None:
        reactor = MemoryReactorClock()
        self.assertIsInstance(described(reactor, "tcp:80"), TCP4ServerEndpoint)
        self.assertIsInstance(metrics_endpoint(reactor, "127.0.0.1", 90), TCP4ServerEndpoint)
        self.assertIsInstance(metrics_endpoint(reactor, "::1", 90), TCP6ServerEndpoint)
        self.assertIsNone(metrics_endpoint(reactor, "::1", None))
