"""What the tests of relays share that a socket relay takes over."""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

from egress.relay.socket_relay import TAKEOVER_BYTES
from tests.transport.sockets import SocketsTestCase, TurnedReactor, read_all


class TakeoverTestCase(SocketsTestCase):
    """Base: a relay between two sockets.

    @cvar module: the module that decides on a takeover.
    @ivar client: the client's socket.
    @ivar near: the transport of the connection to the client.
    @ivar far: the transport of the connection to the origin.
    @ivar origin: the origin's socket.
    """

    module: ModuleType
    reactor: TurnedReactor
    client: socket.socket
    near: Any
    far: Any
    origin: socket.socket

    def exchange(self, size: int = TAKEOVER_BYTES) -> None:
        """Relay data in both directions."""
        for sender, receiver in ((self.client, self.origin), (self.origin, self.client)):
            received = 0
            rest = memoryview(bytes(size))
            while received < size:
                if rest:
                    rest = rest[sender.send(rest[:30000]) :]
                self.reactor.turn()
                received += len(read_all(receiver))
            self.reactor.settle()

    def take_over_after(self, size: int) -> None:
        """Set the number of bytes after which a socket relay takes over."""
        self.patch(self.module, "TAKEOVER_BYTES", size)

    def fill(self, sender: socket.socket) -> int:
        """Send as much as the relay and its transports accept, without a takeover.

        @return: the number of bytes.
        """
        self.take_over_after(1 << 30)
        block = bytes(1 << 20)
        sent = 0
        while True:
            try:
                sent += sender.send(block)
            except BlockingIOError:
                if not self.reactor.turn():
                    break
        self.take_over_after(TAKEOVER_BYTES)
        return sent

    def drain(self, receiver: socket.socket, size: int) -> None:
        """Read this many bytes from a relay."""
        received = 0
        while received < size:
            received += len(read_all(receiver))
            self.reactor.turn()
        self.reactor.settle()

    @property
    def uses_socket_relay(self) -> bool:
        """Whether a socket relay has taken over the sockets."""
        return self.near not in self.reactor.reading and self.far not in self.reactor.reading
