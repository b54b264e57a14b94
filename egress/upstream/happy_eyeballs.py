"""Connecting to the first of several addresses that accepts (RFC 8305, "Happy Eyeballs"), with limited concurrency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall, IProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from egress.model.authority import IPAddress
from egress.transport.reactor import IEgressReactor

# RFC 8305 section 5 recommends 250 ms between two attempts.
ATTEMPT_DELAY = 0.25


class _Factory(ClientFactory):
    noisy = False

    def __init__(self, attempts: Attempts) -> None:
        self._attempts: Attempts | None = attempts

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        # The connection references its factory for its whole lifetime, but does not need the attempts.
        attempts, self._attempts = self._attempts, None
        return attempts.connected(self) if attempts is not None else None

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if self._attempts is not None:
            self._attempts.failed(self, reason)


class Attempts:
    """The attempts for one connection: one more every L{ATTEMPT_DELAY}, or immediately when the previous one fails.

    The owner stops them after a time of its own.

    At the concurrency limit, the next address is tried when an attempt fails, or it replaces the oldest attempt.  The
    interval of the replacements is chosen so that each address is tried within the timeout.

    @param reactor: the reactor.
    @param addresses: at least one address, in the order of the attempts.
    @param port: the TCP port.
    @param protocol: the protocol of the connection.
    @param connected: called just before C{protocol} gets its transport; the protocol itself reports when it is ready.
    @param failed: called with the last attempt's C{ConnectError}.
    @param timeout: seconds for all attempts.
    @param attempt_timeout: seconds for each attempt; C{None} without a limit.
    @param max_concurrent: the maximum number of concurrent attempts.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        addresses: Sequence[IPAddress],
        port: int,
        protocol: IProtocol,
        *,
        connected: Callable[[], None],
        failed: Callable[[Failure], None],
        timeout: float,
        attempt_timeout: float | None,
        max_concurrent: int,
    ) -> None:
        self._reactor = reactor
        self._waiting = list(addresses)
        self._port = port
        self._protocol = protocol
        self._connected = connected
        self._failed = failed
        self._timeout = attempt_timeout
        self._max_concurrent = max_concurrent
        self._replace_delay = max(ATTEMPT_DELAY, timeout / len(addresses))
        self._under_way: dict[_Factory, IConnector | None] = {}
        self._next: IDelayedCall | None = None

    def begin_next(self) -> None:
        """Try the next address."""
        self._next = None
        if len(self._under_way) >= self._max_concurrent:
            oldest = next(iter(self._under_way))
            connector = self._under_way.pop(oldest)
            if connector is not None:
                connector.disconnect()
        address = self._waiting.pop(0)
        factory = _Factory(self)
        self._under_way[factory] = None
        connector = self._reactor.connectTCP(str(address), self._port, factory, timeout=self._timeout)  # type: ignore[arg-type]
        if factory in self._under_way:
            self._under_way[factory] = connector
            if self._waiting and self._next is None:
                at_limit = len(self._under_way) >= self._max_concurrent
                self._next = self._reactor.callLater(
                    self._replace_delay if at_limit else ATTEMPT_DELAY, self.begin_next
                )

    def connected(self, winner: _Factory) -> Protocol | None:
        """Handle a connection, and return its protocol, unless another attempt was faster."""
        if winner not in self._under_way:
            return None
        del self._under_way[winner]
        self.stop()
        self._connected()
        return self._protocol  # type: ignore[return-value]

    def failed(self, factory: _Factory, reason: Failure) -> None:
        """Handle the failure of an attempt."""
        if factory not in self._under_way:
            return
        del self._under_way[factory]
        if self._waiting:
            if self._next is not None:
                self._next.cancel()
            self.begin_next()
        elif not self._under_way:
            self._failed(reason)

    def stop(self) -> None:
        """Give up all attempts."""
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        losers, self._under_way = self._under_way, {}
        for connector in losers.values():
            if connector is not None:
                connector.disconnect()


def connect_first(
    reactor: IEgressReactor,
    addresses: Sequence[IPAddress],
    port: int,
    protocol: IProtocol,
    *,
    timeout: float,
    max_concurrent: int,
) -> Deferred[None]:
    """Connect C{protocol} to the first address that accepts the connection.

    @param reactor: the reactor.
    @param addresses: at least one address, in the order of the attempts.
    @param port: the TCP port.
    @param protocol: the protocol of the connection.
    @param timeout: seconds for each attempt.
    @param max_concurrent: the maximum number of concurrent attempts.
    @return: fires just before C{protocol} gets its transport; fails with the last attempt's C{ConnectError}.
        Cancelling it cancels all attempts.
    """
    done: Deferred[None] = Deferred(lambda _: attempts.stop())
    attempts = Attempts(
        reactor,
        addresses,
        port,
        protocol,
        connected=partial(done.callback, None),
        failed=done.errback,
        timeout=timeout,
        attempt_timeout=timeout,
        max_concurrent=max_concurrent,
    )
    attempts.begin_next()
    return done
