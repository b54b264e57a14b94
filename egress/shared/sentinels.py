"""The sentinels of Redis or Valkey: they monitor a master and its replicas, and know which of them is the master.

This follows the Sentinel client specification of Redis.  The client queries the sentinels in order, and from then on
the first one that responds first.  The engine itself must confirm that it is a master.  The specification permits
subscriptions in addition to queries, because messages can be lost.  Here, the query is repeated instead, on the same
connection, twice in a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks

from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.shared.dial import dial, endpoint_of, explain
from egress.shared.redis_protocol import RedisProtocol, SharedUnavailable

if TYPE_CHECKING:
    from collections.abc import Generator

    from twisted.python.failure import Failure

    from egress.model.shared_location import SharedLocation
    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.transport.reactor import IEgressReactor

CONNECT_TIMEOUT: Final = 1.0
"""Seconds for a connection to a sentinel: there are others."""

# A name has at most 253 characters.
_MAX_HOST: Final = 260


class Sentinels:
    """Queries sentinels for the address of the master.

    @param location: the location, with sentinels.
    @param password: the password of the sentinels.
    @param timeout: seconds for one command.
    @param trust: the trust store for a location with TLS.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        location: SharedLocation,
        *,
        password: str | None,
        timeout: float,
        trust: ReloadableTrust,
    ) -> None:
        self._reactor = reactor
        self._location = location
        self._password = password
        self._timeout = timeout
        self._trust = trust
        self._order = list(location.sentinels)
        # The connection to the first sentinel, if it has responded.
        self._protocol: RedisProtocol | None = None
        self._asking: Deferred[Any] | None = None
        self._waiting: list[Deferred[Authority]] = []

    def find(self) -> Deferred[Authority]:
        """Return the address of the master.  Concurrent calls ask once.

        @return: fires within bounded time.  It fails with L{SharedUnavailable} if no sentinel knows the master.
        """
        waiting: Deferred[Authority] = Deferred()
        self._waiting.append(waiting)
        if self._asking is None:
            asking: Deferred[Authority] = self._ask()
            self._asking = asking
            asking.addBoth(self._answered)
        return waiting

    def stop(self) -> None:
        """Close the connection; calls without a result fail."""
        if self._asking is not None:
            self._asking.cancel()
        self._close()

    def _answered(self, result: Authority | Failure) -> None:
        self._asking = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            # A cancelled Deferred ignores the result.
            each.callback(result)

    @inlineCallbacks
    def _ask(self) -> Generator[Deferred[Any], Any, Authority]:
        reasons: list[str] = []
        for sentinel in tuple(self._order):
            try:
                protocol = yield self._connection(sentinel)
                reply = yield protocol.call("SENTINEL", "get-master-addr-by-name", self._location.master)
                master = _address(reply)
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever its fault is, another one can respond
                reasons.append(f"{sentinel}: {explain(error)}")
            else:
                if master is not None:
                    return master
                reasons.append(f"{sentinel}: it does not know the master {self._location.master}")
            self._close()
        raise SharedUnavailable(f"no sentinel names a master: {'; '.join(reasons)}")

    @inlineCallbacks
    def _connection(self, sentinel: Authority) -> Generator[Deferred[Any], Any, RedisProtocol]:
        """Return a connection to a sentinel, which becomes the first one."""
        if self._protocol is not None and sentinel == self._order[0]:
            return self._protocol
        self._close()

        def closed(reason: str) -> None:
            if self._protocol is protocol:
                self._protocol = None

        protocol = RedisProtocol(self._reactor, timeout=self._timeout, max_pending=2, closed=closed)
        location = self._location
        endpoint = endpoint_of(self._reactor, sentinel, self._trust, tls=location.tls)
        self._protocol = protocol
        yield dial(self._reactor, endpoint, protocol, tls=location.tls, timeout=CONNECT_TIMEOUT)
        if self._password is not None:
            names = () if location.sentinel_user is None else (location.sentinel_user,)
            yield protocol.call("AUTH", *names, self._password)
        self._order.remove(sentinel)
        self._order.insert(0, sentinel)
        return protocol

    def _close(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.abort("the client uses another sentinel")


def _address(reply: Any) -> Authority | None:
    """Return the address in a reply; C{None}: the sentinel does not know the master.

    @raise SharedUnavailable: if it is invalid.
    """
    if reply is None:
        return None
    if isinstance(reply, list) and len(reply) == 2 and all(isinstance(each, bytes) for each in reply):
        host, port = reply
        if len(host) <= _MAX_HOST and port.isdigit():
            try:
                return Authority.parse(f"{host.decode('ascii')}:{port.decode('ascii')}", bare_ipv6=True)
            except (InvalidTarget, UnicodeDecodeError):
                pass
    raise SharedUnavailable("it responded with an address that is not valid")
