"""The client of Redis or Valkey: one connection, which is opened again when it was lost.

Sentinels can tell which engine is the master.  The connection is to that one, also after they have named another one.

While there is no connection, every command fails immediately.  The caller then continues without shared state, as if
the engine were empty.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.model.shared_location import SharedLocation
from egress.shared.dial import dial, endpoint_of, explain
from egress.shared.master_watch import MasterWatch
from egress.shared.redis_protocol import RedisProtocol, SharedUnavailable
from egress.shared.script import Argument, Script
from egress.shared.sentinels import Sentinels
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from egress.model.authority import Authority
    from egress.tls.reloadable_trust import ReloadableTrust

_log = Logger()

MAX_PENDING: Final = 1000
"""The maximum number of commands without a reply."""

FIRST_DELAY: Final = 0.1
LAST_DELAY: Final = 1.0
"""Seconds before a new connection, doubled after each failure."""

CONNECT_TIMEOUT: Final = 5.0

# Names that no value has, in different slots of a cluster: deleting them shows whether the engine writes.
_NOTHING: Final = ("egress:none", "egress:nothing")


class SharedClient:
    """Sends commands to the engine.

    @param location: the location of the engine.
    @param password: the password of its user.
    @param timeout: seconds for one command.
    @param trust: the trust store for a location with TLS.
    @param sentinel_password: the password of the sentinels.
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
        sentinel_password: str | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        self.fault: str | None = "it is not connected yet"
        self.on_connected: Callable[[], object] = lambda: None
        self.on_lost: Callable[[], object] = lambda: None
        self._reactor = reactor
        self._location = location
        self._password = password
        self._timeout = timeout
        self._trust = trust
        self._master: MasterWatch | None = None
        if location.sentinels:
            sentinels = Sentinels(reactor, location, password=sentinel_password, timeout=timeout, trust=trust)
            self._master = MasterWatch(reactor, sentinels, self._moved)
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
        if self._master is not None:
            self._master.start()
        return self._connect()

    def stop(self) -> None:
        """Close the connection; commands without a reply fail."""
        self._running = False
        if self._master is not None:
            self._master.stop()
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

    @property
    def master(self) -> Authority | None:
        """The master to which there is a connection, if sentinels have named it."""
        return None if self._master is None or self._protocol is None else self._master.address

    @property
    def master_changes(self) -> int | None:
        """The number of times that the sentinels have named another master; C{None}: there are no sentinels."""
        return None if self._master is None else self._master.changes

    def call(self, *arguments: Argument) -> Deferred[Any]:
        """Send a command; see L{RedisProtocol.call}."""
        if self._protocol is None:
            return fail(SharedUnavailable(self.fault or ""))
        return self._protocol.call(*arguments)

    def run(self, script: Script, names: Sequence[bytes], *arguments: Argument) -> Deferred[Any]:
        """Run a script; see L{RedisProtocol.run}."""
        if self._protocol is None:
            return fail(SharedUnavailable(self.fault or ""))
        return self._protocol.run(script, names, *arguments)

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
        location = self._location
        authority = location.authority
        if self._master is not None:
            authority = yield self._master.find()
        endpoint: IStreamClientEndpoint
        if authority is not None:
            endpoint = endpoint_of(self._reactor, authority, self._trust, tls=location.tls)
        else:
            assert location.path is not None
            endpoint = UNIXClientEndpoint(self._reactor, location.path)  # type: ignore[no-untyped-call]
        protocol = RedisProtocol(
            self._reactor,
            timeout=self._timeout,
            max_pending=MAX_PENDING,
            closed=lambda reason: self._lost(protocol, reason),
        )
        try:
            yield dial(self._reactor, endpoint, protocol, tls=location.tls, timeout=CONNECT_TIMEOUT)
            yield from self._greet(protocol)
        except BaseException as error:
            protocol.abort("the connection was not established")
            if self._master is not None and isinstance(error, Exception):
                raise SharedUnavailable(f"the master {authority}: {explain(error)}") from error
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
        if self._master is not None:
            # What sentinels say can be old.
            role = yield protocol.call("ROLE")
            if not isinstance(role, list) or role[:1] != [b"master"]:
                raise SharedUnavailable("it is not a master")
        # An engine that does not write, is loading its data, or lacks a permission, responds with an error.
        yield protocol.call("DEL", *_NOTHING)

    def _established(self) -> None:
        if self.master is None:
            _log.info("shared state: connected to {location}", location=str(self._location))
        else:
            _log.info(
                "shared state: connected to the master {master} of {location}",
                location=str(self._location),
                master=str(self.master),
            )
        self._reported = False
        self.fault = None
        self._delay = FIRST_DELAY
        self.on_connected()

    def _failed(self, failure: Failure) -> None:
        if self._running:
            self._unavailable(explain(failure.value))

    def _attempted(self, _: None) -> None:
        self._connecting = None

    def _lost(self, protocol: RedisProtocol, reason: str) -> None:
        if self._protocol is protocol:
            self._protocol = None
            if self._running:
                self._unavailable(reason)
                self.on_lost()

    def _moved(self, reason: str) -> None:
        """Do not use the present master any more, and do not wait for a connection to it."""
        self._delay = FIRST_DELAY
        if self._protocol is not None:
            self._protocol.abort(reason)
        elif self._connecting is not None:
            self._connecting.cancel()
        elif self._retry is not None:
            self._retry.reset(self._pause())

    def _unavailable(self, reason: str) -> None:
        if not self._reported:
            self._reported = True
            _log.warn(
                "shared state: {location} cannot be used: {reason}; the proxy decides without shared state",
                location=str(self._location),
                reason=reason,
            )
        self.fault = reason
        self._retry = self._reactor.callLater(self._pause(), self._connect)

    def _pause(self) -> float:
        """Return the seconds until the next connection."""
        delay, self._delay = self._delay, min(2 * self._delay, LAST_DELAY)
        # Half of the delay is random, so that replicas do not connect at the same time.
        return delay * (0.5 + self._jitter() / 2)
