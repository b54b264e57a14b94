"""The client of Redis or Valkey: one connection, which is opened again when it was lost.

While there is no connection, every command fails immediately.  The caller then continues without shared state, as if
the engine were empty.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.model.shared_location import SharedLocation
from egress.shared.redis_protocol import Argument, CommandRejected, RedisProtocol, SharedUnavailable
from egress.transport.dialed import ProtocolAdapter
from egress.transport.reactor import IEgressReactor
from egress.transport.tls_endpoint import TlsEndpoint

if TYPE_CHECKING:
    from collections.abc import Generator

    from egress.tls.reloadable_trust import ReloadableTrust

_log = Logger()

MAX_PENDING: Final = 1000
"""The maximum number of commands without a reply."""

FIRST_DELAY: Final = 0.1
LAST_DELAY: Final = 5.0
"""Seconds before a new connection, doubled after each failure."""

CONNECT_TIMEOUT: Final = 5.0


class _Factory(Factory):
    """Returns one protocol.  Twisted's own factory sets an attribute, which a compiled protocol does not have."""

    noisy = False

    def __init__(self, protocol: ProtocolAdapter) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


class SharedClient:
    """Sends commands to the engine.

    @param location: the location of the engine.
    @param password: the password of its user.
    @param timeout: seconds for one command.
    @param trust: the trust store for a location with TLS.
    @ivar fault: the reason why there is no connection; C{None} while there is one.
    @ivar on_connected: is called whenever a connection was established, before other commands are sent.
    @ivar on_lost: is called whenever such a connection was lost.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        location: SharedLocation,
        *,
        password: str | None,
        timeout: float,
        trust: ReloadableTrust,
        jitter: Callable[[], float] = random,
    ) -> None:
        self.fault: str | None = "it is not connected yet"
        self.on_connected: Callable[[], object] = lambda: None
        self.on_lost: Callable[[], object] = lambda: None
        self._reactor = reactor
        self._location = location
        self._password = password
        self._timeout = timeout
        self._endpoint = _endpoint(reactor, location, trust)
        self._jitter = jitter
        self._protocol: RedisProtocol | None = None
        self._connecting: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._delay = FIRST_DELAY
        self._running = False
        self._reported = False

    def start(self) -> Deferred[None]:
        """Connect, and connect again whenever the connection is lost.

        @return: fires after the first attempt, whether or not there is a connection.
        """
        self._running = True
        return self._connect()

    def stop(self) -> None:
        """Close the connection; commands without a reply fail."""
        self._running = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._connecting is not None:
            self._connecting.cancel()
        if self._protocol is not None:
            self._protocol.abort("the proxy stops")
        self._protocol = None
        self.fault = "the proxy stops"

    @property
    def is_ready(self) -> bool:
        """Whether commands can be sent."""
        return self._protocol is not None

    def call(self, *arguments: Argument) -> Deferred[Any]:
        """Send a command; see L{RedisProtocol.call}."""
        if self._protocol is None:
            return fail(SharedUnavailable(self.fault or ""))
        return self._protocol.call(*arguments)

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check, if the engine cannot be used: the proxy works without it."""
        if self.fault is None:
            return succeed(None)
        return succeed(f"{self._location} cannot be used: {self.fault}; the proxy decides without shared state")

    # -- connections

    def _connect(self) -> Deferred[None]:
        self._retry = None
        connecting: Deferred[None] = self._open()
        self._connecting = connecting
        return connecting.addErrback(self._failed).addBoth(self._attempted)

    @inlineCallbacks
    def _open(self) -> Generator[Deferred[Any], Any, None]:
        ready: Deferred[None] = Deferred()

        def lost(reason: Failure) -> None:
            if not ready.called:
                ready.errback(reason)

        def is_ready() -> None:
            if not ready.called:
                ready.callback(None)

        protocol = RedisProtocol(
            self._reactor,
            timeout=self._timeout,
            max_pending=MAX_PENDING,
            closed=lambda reason: self._lost(protocol, reason),
        )
        dialed = ProtocolAdapter(protocol)
        dialed.prepare(self._location.tls, is_ready, lost)
        connecting = self._endpoint.connect(_Factory(dialed))
        yield connecting.addTimeout(CONNECT_TIMEOUT, self._reactor)
        try:
            yield ready.addTimeout(CONNECT_TIMEOUT, self._reactor)
            dialed.attach()
            yield from self._greet(protocol)
        except BaseException:
            protocol.abort("the connection was not established")
            dialed.transport.abortConnection()
            raise
        self._protocol = protocol
        self._established()

    def _greet(self, protocol: RedisProtocol) -> Generator[Deferred[Any], Any, None]:
        """Send what a connection begins with."""
        location = self._location
        if self._password is not None:
            names = () if location.user is None else (location.user,)
            yield protocol.call("AUTH", *names, self._password)
        if location.database:
            yield protocol.call("SELECT", location.database)
        # An engine that is loading its data, or lacks a permission, responds with an error.
        yield protocol.call("PING")

    def _established(self) -> None:
        _log.info("shared state: connected to {location}", location=str(self._location))
        self._reported = False
        self.fault = None
        self._delay = FIRST_DELAY
        self.on_connected()

    def _failed(self, failure: Failure) -> None:
        if self._running:
            self._unavailable(_reason(failure))

    def _attempted(self, _: None) -> None:
        self._connecting = None

    def _lost(self, protocol: RedisProtocol, reason: str) -> None:
        if self._protocol is protocol:
            self._protocol = None
            if self._running:
                self._unavailable(reason)
                self.on_lost()

    def _unavailable(self, reason: str) -> None:
        if not self._reported:
            self._reported = True
            _log.warn(
                "shared state: {location} cannot be used: {reason}; the proxy decides without shared state",
                location=str(self._location),
                reason=reason,
            )
        self.fault = reason
        delay, self._delay = self._delay, min(2 * self._delay, LAST_DELAY)
        # Half of the delay is random, so that replicas do not connect at the same time.
        self._retry = self._reactor.callLater(delay * (0.5 + self._jitter() / 2), self._connect)


def _reason(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CommandRejected):
        # Redis repeats arguments of some commands in errors, but never a password.
        return f"it responded with an error: {error}"
    return str(error) or type(error).__name__


def _endpoint(reactor: IEgressReactor, location: SharedLocation, trust: ReloadableTrust) -> IStreamClientEndpoint:
    if location.authority is None:
        assert location.path is not None
        return UNIXClientEndpoint(reactor, location.path)  # type: ignore[no-untyped-call]
    authority = location.authority
    inner = HostnameEndpoint(reactor, authority.host, authority.port)
    return TlsEndpoint(reactor, trust.connection_creator(authority), inner) if location.tls else inner
