"""A DNS client for the servers that the operator configures, without threads (RFC 1035, RFC 7766)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ClientFactory, DatagramProtocol
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from egress.model.dns_server import DnsServer
from egress.model.errors import NameNotResolved, ResolutionTimeout
from egress.upstream.dns_message import Answer, Unusable, build_query, parse, read
from egress.upstream.hosts_file import HostsFile
from egress.upstream.lookups import Addresses

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector

# The maximum timeout of one query in seconds, and the number of times that each server is queried.
ATTEMPT_SECONDS: Final = 3.0
ROUNDS: Final = 2
# The part of a name's timeout that the queries may use, so that their result is known before the timeout.
_QUERY_SHARE: Final = 0.8

# The seconds for which a server that timed out is queried after the other servers.
SILENT_SECONDS: Final = 30.0

# The maximum number of queries for one name and one address family, if the server does not follow aliases.
_MAX_QUERIES: Final = 8

# The maximum size of a response over TCP; no name may have more addresses than fit.
_MAX_RESPONSE: Final = 16 * 1024


class _Query:
    """One query.

    @ivar done: fires with the response, or fails with L{Unusable}.
    """

    def __init__(self, name: bytes, kind: int, data: bytes, message_id: int, close: Any) -> None:
        self._name = name
        self._kind = kind
        self._id = message_id
        self._close = close
        self._over = False
        self.data = data
        self.done: Deferred[dns.Message] = Deferred(lambda _: self._end())

    @property
    def over(self) -> bool:
        """Whether the result is known or no longer needed."""
        return self._over

    def _end(self) -> None:
        self._over = True
        self._close()

    def take(self, data: bytes) -> None:
        """Process received data; data other than the response is ignored."""
        message = None if self._over else parse(data, self._name, self._kind, self._id)
        if message is not None:
            self._end()
            self.done.callback(message)

    def fail(self, why: str) -> None:
        """Fail the query."""
        if not self._over:
            self._end()
            self.done.errback(Unusable(why))


class _Datagrams(DatagramProtocol):
    """A query over UDP.

    The socket is connected: the system accepts datagrams from this server only, and reports a closed port.
    """

    noisy = False

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self.query: _Query | None = None

    def startProtocol(self) -> None:
        """Connect the socket."""
        cast("Any", self.transport).connect(str(self._server.address), self._server.port)

    def send(self, query: _Query) -> None:
        """Send the query."""
        self.query = query
        cast("Any", self.transport).write(query.data)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Process a datagram, which may be the response."""
        if self.query is not None:
            self.query.take(datagram)

    def connectionRefused(self) -> None:
        """Fail the query, because the port is closed."""
        if self.query is not None:
            self.query.fail("its UDP port is closed")

    def close(self) -> None:
        """Close the socket."""
        if self.transport is not None:
            cast("Any", self.transport).stopListening()


class _Stream(Int16StringReceiver):
    """A query over TCP (RFC 7766 section 8)."""

    MAX_LENGTH = _MAX_RESPONSE
    factory: _StreamFactory

    def connectionMade(self) -> None:
        """Send the query."""
        self.sendString(self.factory.query.data)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """Process a message, which may be the response."""
        self.factory.query.take(string)

    def lengthLimitExceeded(self, length: int) -> None:
        """Fail the query, because the response is too long."""
        self.factory.query.fail("its response is too long")

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail the query, unless it is over, because the connection is closed."""
        self.factory.query.fail("it closed the connection")


class _StreamFactory(ClientFactory):
    noisy = False
    protocol = _Stream  # type: ignore[assignment]
    query: _Query

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build the protocol, unless the query is over."""
        return None if self.query.over else super().buildProtocol(addr)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Fail the query, because the connection failed."""
        self.query.fail("it did not accept the connection")


class DnsLookups:
    """Queries DNS servers one after the other; see L{egress.upstream.lookups.Lookups}.

    Names in C{hosts} are not queried.  A name is queried unchanged: there is no search list.  A response is final,
    even if it says that the name does not exist; if a server fails or does not respond, the next server is queried.

    @param reactor: provides C{IReactorUDP}, C{IReactorTCP} and C{IReactorTime}.
    @param servers: at least one server, in the order of the queries.
    @param timeout: seconds for one name.
    """

    stoppable = True

    def __init__(self, reactor: Any, servers: Sequence[DnsServer], timeout: float, hosts: HostsFile) -> None:
        self._reactor = reactor
        self._servers = tuple(servers)
        self._hosts = hosts
        self._attempt = min(ATTEMPT_SECONDS, _QUERY_SHARE * timeout / (ROUNDS * len(self._servers)))
        self._silent: dict[DnsServer, float] = {}

    def __call__(self, host: str) -> Deferred[Addresses]:
        """Look up a name."""
        known = self._hosts.addresses(host)
        if known is not None:
            return succeed(known)
        name = host.encode("ascii")
        if build_query(name, dns.A, 0) is None:
            return succeed(())
        kinds = (dns.AAAA, dns.A)
        families = [Deferred.fromCoroutine(self._family(name, kind)) for kind in kinds]
        # Both families are queried in parallel; both results are needed: the address guard checks all addresses.
        return DeferredList(families, consumeErrors=True).addCallback(_join_families)

    async def _family(self, host: bytes, kind: int) -> Addresses:
        name = host
        for _ in range(_MAX_QUERIES):
            answer = await self._query_servers(name, kind)
            if answer.alias is None:
                return answer.addresses
            name = answer.alias
        return ()

    async def _query_servers(self, name: bytes, kind: int) -> Answer:
        text = name.decode("latin-1")
        why, silent = "", False
        for _ in range(ROUNDS):
            for server in self._ordered_servers():
                try:
                    return await self._query_server(server, name, kind)
                except Unusable as error:
                    why = f"{server}: {error}"
                except TookTooLong:
                    silent = True
                    self._silent[server] = self._reactor.seconds() + SILENT_SECONDS
            if not silent:
                # All servers responded, and would send the same responses again.
                raise NameNotResolved(f"no DNS server could resolve {text} ({why})")
        raise ResolutionTimeout(f"no DNS server responded for {text} in time")

    def _ordered_servers(self) -> list[DnsServer]:
        """Return the servers, with the servers that recently timed out at the end."""
        now = self._reactor.seconds()
        return sorted(self._servers, key=lambda server: self._silent.get(server, 0.0) > now)

    async def _query_server(self, server: DnsServer, name: bytes, kind: int) -> Answer:
        message_id = secrets.randbits(16)
        data = build_query(name, kind, message_id)
        if data is None:
            raise Unusable("an alias is not a valid name")
        message = await self._over_udp(server, name, kind, data, message_id).addTimeout(self._attempt, self._reactor)
        if message.trunc:
            # RFC 7766 section 5: the truncated response is not used.
            over_tcp = self._over_tcp(server, name, kind, data, message_id)
            message = await over_tcp.addTimeout(self._attempt, self._reactor)
        answer = read(message, name, kind)
        self._silent.pop(server, None)
        return answer

    def _over_udp(
        self, server: DnsServer, name: bytes, kind: int, data: bytes, message_id: int
    ) -> Deferred[dns.Message]:
        protocol = _Datagrams(server)
        query = _Query(name, kind, data, message_id, protocol.close)
        try:
            # Each query uses a new port, which the system chooses (RFC 5452 section 9.2).
            self._reactor.listenUDP(0, protocol, interface="::" if server.address.version == 6 else "")
            protocol.send(query)
        except (OSError, CannotListenError):
            query.fail("it cannot be reached")
        return query.done

    def _over_tcp(
        self, server: DnsServer, name: bytes, kind: int, data: bytes, message_id: int
    ) -> Deferred[dns.Message]:
        factory = _StreamFactory()
        connectors: list[IConnector] = []

        def close() -> None:
            for connector in connectors:
                connector.disconnect()

        factory.query = _Query(name, kind, data, message_id, close)
        connectors.append(self._reactor.connectTCP(str(server.address), server.port, factory, self._attempt))
        return factory.query.done


def _join_families(results: Any) -> Addresses:
    """Join the results of both families: addresses of one family are used even if the other family failed."""
    found = tuple(address for success, addresses in results if success for address in addresses)
    if not found:
        for success, failure in results:
            if not success:
                failure.raiseException()
    return found
