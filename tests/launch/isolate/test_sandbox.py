"""Tests for L{egress.launch.isolate.sandbox}."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.messages import RUN, Command, Failed, Ready, View, decode_command, encode, encode_view
from egress.launch.isolate.sandbox import CannotIsolate, Sandbox
from tests.launch.processes import Spawner

_NAMES = ["proxy", "transparent", "dns_udp", "dns_tcp", "transparent", "dns_udp", "dns_tcp"]


class Reactor(Spawner):
    """A reactor in memory, whose helper process is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, *, env: Any, childFDs: Any) -> Any:
        """Let the test have the socket of the process."""
        self.helper = socket.socket(fileno=os.dup(childFDs[3]))
        return super().spawnProcess(protocol, executable, arguments, env=env, childFDs=childFDs)

    def addReader(self, reader: Any) -> None:
        """See C{IReactorFDSet.addReader}."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """See C{IReactorFDSet.removeReader}."""
        if reader in self.readers:
            self.readers.remove(reader)

    def receive(self, data: bytes, *descriptors: int) -> None:
        """Let the helper send a message, and the reader read it."""
        socket.send_fds(self.helper, [data], descriptors)
        self.readers[0].doRead()


class SandboxTests(SynchronousTestCase):
    """A sandbox whose helper process is the test."""

    def setUp(self) -> None:
        self.patch(sys, "platform", "linux")
        self.reactor = Reactor()
        self.starting: Deferred[Sandbox] = Sandbox.start(self.reactor, View(["/w"]))
        self.addCleanup(self.reactor.helper.close)
        self.forward: Callable[[int], object] | None = None

    @contextmanager
    def forwarding(self, reactor: object, forward: Callable[[int], object]) -> Iterator[None]:
        self.forward = forward
        yield
        self.forward = None

    def start(self) -> Sandbox:
        pairs = [socket.socketpair() for _ in _NAMES]
        self.peers = [peer for _, peer in pairs]
        self.reactor.receive(encode(Ready(_NAMES)), *(own.fileno() for own, _ in pairs))
        for own, _ in pairs:
            own.close()
        sandbox = self.successResultOf(self.starting)
        self.addCleanup(sandbox.sockets.close)
        for peer in self.peers:
            self.addCleanup(peer.close)
        return sandbox

    def run_command(self) -> Deferred[int]:
        return self.start().run("/bin/tool", ["tool", "-x"], {"A": "b"}, self.forwarding, hidden=["/key"])

    def test_helper(self) -> None:
        """The helper has the streams of this process; modules of the current directory are not imported."""
        (executable, arguments, environ, descriptors) = self.reactor.spawned[0]
        self.assertEqual((executable, arguments[:3], environ), (sys.executable, [executable, "-I", "-S"], os.environ))
        self.assertEqual(arguments[-2:], ["3", encode_view(View(["/w"]))])
        self.assertEqual({number: descriptors[number] for number in (0, 1, 2)}, {0: 0, 1: 1, 2: 2})

    def test_sockets(self) -> None:
        """Each name has its sockets, in the order of the message: IPv4 first."""
        sockets = self.start().sockets
        ordered = (
            *(sockets.proxy, sockets.transparent[0], sockets.dns_udp[0], sockets.dns_tcp[0]),
            *(sockets.transparent[1], sockets.dns_udp[1], sockets.dns_tcp[1]),
        )
        for number, (own, peer) in enumerate(zip(ordered, self.peers, strict=True)):
            own.sendall(bytes([number]))
            self.assertEqual(peer.recv(1), bytes([number]))
        self.assertEqual(self.reactor.readers, [])

    def test_run(self) -> None:
        """The helper receives the command in a file, whatever its size."""
        running = self.run_command()
        message, descriptors, _, _ = socket.recv_fds(self.reactor.helper, 100, 5)
        self.assertEqual((message, len(descriptors)), (RUN, 1))
        with open(descriptors[0], "rb") as file:
            file.seek(0)
            self.assertEqual(decode_command(file.read()), Command("/bin/tool", ["tool", "-x"], {"A": "b"}, ["/key"]))
        self.assertNoResult(running)
        self.reactor.exit(ProcessTerminated(7))
        self.assertEqual(self.successResultOf(running), 7)
        self.assertIsNone(self.forward)

    def test_signals(self) -> None:
        running = self.run_command()
        assert self.forward is not None
        self.forward(signal.SIGHUP)
        self.assertEqual(self.reactor.process.signals, [signal.SIGHUP])
        forward = self.forward
        self.reactor.exit(ProcessTerminated(signal=signal.SIGKILL))
        # A signal that arrives at this moment is too late.
        forward(signal.SIGTERM)
        self.assertEqual(self.successResultOf(running), 137)

    def test_cancelled(self) -> None:
        running = self.run_command()
        running.cancel()
        self.assertEqual(self.reactor.process.signals, [signal.SIGTERM])
        self.failureResultOf(running, CancelledError)
        self.reactor.exit(ProcessTerminated(signal=signal.SIGTERM))
        self.assertIsNone(self.forward)

    def test_ended_before_run(self) -> None:
        """The helper was killed before it received a command."""
        sandbox = self.start()
        self.reactor.exit(ProcessTerminated(signal=signal.SIGKILL))
        running = sandbox.run("/bin/tool", ["tool"], {}, self.forwarding)
        self.assertEqual(self.successResultOf(running), 137)
        self.assertIsNone(self.forward)

    def test_close(self) -> None:
        """The end of the helper is the end of every process in the sandbox."""
        self.start().close()
        self.assertEqual(self.reactor.process.signals, [signal.SIGKILL])

    def test_failed(self) -> None:
        self.reactor.receive(encode(Failed("network", 12, "Cannot allocate memory")))
        error = self.failureResultOf(self.starting, CannotIsolate).value
        self.assertIn("Cannot allocate memory", str(error))

    def test_ended_without_message(self) -> None:
        self.reactor.helper.close()
        self.reactor.readers[0].doRead()
        self.failureResultOf(self.starting, CannotIsolate)

    def test_start_cancelled(self) -> None:
        self.starting.cancel()
        self.failureResultOf(self.starting, CancelledError)
        self.assertEqual((self.reactor.process.signals, self.reactor.readers), ([signal.SIGKILL], []))

    def test_not_readable_yet(self) -> None:
        """A reactor may call without data."""
        reader = self.reactor.readers[0]
        reader.doRead()
        self.assertNoResult(self.starting)
        self.assertEqual(reader.logPrefix(), "sandbox")
        self.assertGreaterEqual(reader.fileno(), 0)
        reader.connectionLost(Failure(ConnectionError()))

    def test_other_platform(self) -> None:
        self.patch(sys, "platform", "darwin")
        error = self.failureResultOf(Sandbox.start(self.reactor), CannotIsolate).value
        self.assertIn("only on Linux", str(error))
