"""Tests for L{egress.upstream.authenticated_connections}."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.authenticated_connections import AuthenticatedConnections
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.pool import OriginPool
from tests.proxy.fakes import UPGRADE, ProxyTestCase, Wire, connection_of, request, response, session_of, status_of

ORIGIN = Origin("http", Authority("origin.test", 80))
ROUTE = Route(ORIGIN, (), None, False, False)
KEY: PoolKey = (("198.51.100.7", b""), ORIGIN)
OTHER: PoolKey = (("198.51.100.8", b""), ORIGIN)


class IdleConnectionTests(SynchronousTestCase):
    """Idle connections of one client connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = OriginPool(self.clock, Limits(pool_per_origin=2, pool_total=5, idle_timeout=40))
        self.finished = 0
        self.logins = self.for_session()
        self.wires: dict[OriginConnection, Wire] = {}

    def for_session(self, **limits: int) -> AuthenticatedConnections:
        """Return the connections of a client connection."""
        return AuthenticatedConnections(self.pool, self.finish, **limits)

    def finish(self) -> None:
        """Record the end of the client connection."""
        self.finished += 1

    def tearDown(self) -> None:
        self.logins.drop()
        self.pool.close()
        for wire in self.wires.values():
            wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((len(self.pool), self.pool.private), (0, {}))

    def connection(self, *, private: bool = True, logged_in: bool = True, route: Route = ROUTE) -> OriginConnection:
        """Return a connected connection."""
        connection = OriginConnection(route, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        connection.private, connection.logged_in = private, logged_in
        self.wires[connection] = Wire(self.clock).connect(connection)
        return connection

    def keep(
        self, key: PoolKey = KEY, logins: AuthenticatedConnections | None = None, **options: Any
    ) -> OriginConnection:
        """Return a connection to the pool."""
        connection = self.connection(**options)
        (logins or self.logins).keep(key, connection)
        return connection

    def take(
        self, key: PoolKey = KEY, logins: AuthenticatedConnections | None = None, **options: Any
    ) -> OriginConnection | None:
        """Take a connection."""
        taken = (logins or self.logins).take(key, repeatable=False, addresses=None, **options)
        assert taken is None or isinstance(taken, OriginConnection)
        return taken

    def closed(self, connection: OriginConnection) -> bool:
        """Tell whether a connection was closed."""
        self.clock.advance(0)
        return self.wires[connection].disconnected

    def test_private_connections_serve_one_client_connection(self) -> None:
        other = AuthenticatedConnections(self.pool, self.finish)
        connection = self.keep()
        self.assertEqual(self.logins.route(KEY), ROUTE)
        self.assertIsNone(other.route(KEY))
        self.assertIsNone(self.take(logins=other))
        self.assertIsNone(self.take(OTHER))
        self.assertIs(self.take(), connection)
        self.assertIsNone(self.take())
        self.logins.keep(KEY, connection)

    def test_other_connections_are_shared(self) -> None:
        other = AuthenticatedConnections(self.pool, self.finish)
        connection = self.keep(private=False, logged_in=False)
        self.assertEqual(other.route(KEY), ROUTE)
        self.assertIsNone(self.take(upgrade=True))
        self.assertIsNone(self.take(fresh=True))
        self.assertIs(self.take(logins=other), connection)
        other.keep(KEY, connection)

    def test_authenticated_connection_serves_every_request(self) -> None:
        """Neither its idle time nor an upgrade matters."""
        connection = self.keep()
        self.clock.advance(30)
        self.assertIs(self.take(upgrade=True, fresh=True), connection)
        self.logins.keep(KEY, connection)

    def test_challenge_does_not_authenticate(self) -> None:
        connection = self.keep(logged_in=False)
        self.clock.advance(3)
        self.assertIsNone(self.take(), "it may be stale, and there is nothing to lose")
        self.wires[connection].lose()
        self.assertFalse(self.logins.lost(KEY) or self.logins.ended)
        self.assertEqual(self.finished, 0)

    def test_no_upgrade_through_a_forwarding_upstream_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), None)
        self.keep(route=attrs.evolve(ROUTE, upstream=upstream))
        self.assertIsNone(self.take(upgrade=True))
        self.assertIsNotNone(self.logins.route(KEY))

    def test_connection_to_other_addresses_is_not_used(self) -> None:
        one = ip_address("192.0.2.1")
        first = self.keep(route=attrs.evolve(ROUTE, addresses=(one,)))
        self.assertIsNone(self.logins.take(KEY, repeatable=True, addresses=()))
        second = self.keep()
        self.assertTrue(self.closed(first))
        self.assertFalse(self.logins.ended, "the login went on over the second")
        self.assertIs(self.take(), second)
        self.logins.keep(KEY, second)

    def test_lost_connection(self) -> None:
        connection = self.keep()
        self.wires[connection].lose()
        self.assertTrue(self.logins.lost(KEY) and self.logins.ended)
        self.assertFalse(self.logins.lost(OTHER))
        self.assertEqual(self.finished, 1)

    def test_idle_timeout(self) -> None:
        connection = self.keep()
        self.clock.advance(40)
        self.assertTrue(self.closed(connection))
        self.assertEqual(self.finished, 1)

    def test_pool_is_cleared(self) -> None:
        """This closes authenticated connections, both idle ones and those in use."""
        resting, busy = self.keep(), self.connection()
        self.clock.advance(1)
        self.pool.clear()
        self.logins.keep(OTHER, busy)
        self.assertTrue(self.closed(resting) and self.closed(busy))
        self.assertEqual(self.finished, 2)

    def test_limit_per_client_connection(self) -> None:
        self.logins = self.for_session(max_per_session=2)
        oldest, *others = [self.keep((KEY[0], ORIGIN, number)) for number in range(3)]
        self.assertTrue(self.closed(oldest))
        self.assertFalse(any(map(self.closed, others)))
        self.assertEqual(self.finished, 1)

    def test_limit_per_client(self) -> None:
        several = [self.for_session(max_per_client=2) for _ in range(3)]
        connections = [self.keep(logins=logins) for logins in several]
        self.assertEqual([self.closed(one) for one in connections], [False, False, True])
        self.assertEqual([logins.lost(KEY) for logins in several], [False, False, True])
        self.assertFalse(self.closed(self.keep(OTHER, several[2])), "another client")
        for logins in several:
            logins.drop()

    def test_limit_counts_ipv6_by_64(self) -> None:
        self.logins = self.for_session(max_per_client=1)
        hosts = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        connections = [self.keep(((host, b""), ORIGIN)) for host in hosts]
        self.assertEqual([self.closed(one) for one in connections], [False, True, False])

    def test_drop(self) -> None:
        connection = self.keep()
        self.logins.drop()
        late = self.keep()
        self.assertTrue(self.closed(connection) and self.closed(late))
        self.assertEqual(self.finished, 0)


NTLM = "Authorization: NTLM TlRMTVNTUAABAAAA"
CHALLENGE = response(b"", "WWW-Authenticate: NTLM TlRMTVNTUAACAAAA", status="401 Unauthorized")
OFFER = response(b"", "WWW-Authenticate: Basic realm=x", "www-authenticate: negotiate, ntlm", status="401 No")


class SessionTests(ProxyTestCase):
    """Requests of client connections to an origin that authenticates connections."""

    def ask(self, client: Wire, *fields: str, answer: bytes | None = None, method: str = "GET") -> Wire:
        """Send a request and its response.

        @return: the origin connection that carried the request.
        """
        client.feed(request(method, "http://origin.test/a", *fields))
        (asked,) = [wire for wire in self.dialer.origins if wire.written]
        self.assertIsInstance(asked, Wire)
        asked.take()
        asked.feed(answer or response())
        return asked

    def log_in(self, client: Wire) -> Wire:
        """Authenticate a client."""
        origin = self.ask(client, NTLM, answer=CHALLENGE)
        self.assertIs(self.ask(client, NTLM), origin)
        client.take()
        return origin

    def test_authenticated_connection_is_not_shared(self) -> None:
        mine = self.log_in(self.client)
        other = self.connect()
        self.assertIsNot(self.ask(other), mine)
        self.assertIs(self.ask(self.client), mine)

    def test_concurrent_authentication(self) -> None:
        other = self.connect()
        mine, theirs = self.ask(self.client, NTLM, answer=CHALLENGE), self.ask(other, NTLM, answer=CHALLENGE)
        self.assertIsNot(mine, theirs)
        for method in ("POST", "GET", "DELETE"):
            self.assertIs(self.ask(self.client, NTLM, method=method), mine)
            self.assertIs(self.ask(other, NTLM, method=method), theirs)

    def test_authentication_starts_on_a_new_connection(self) -> None:
        """Another client may have started an authentication on a shared connection."""
        shared = self.ask(self.client)
        self.assertIsNot(self.ask(self.client, NTLM, answer=CHALLENGE), shared)

    def test_challenged_connection_is_private(self) -> None:
        offered = self.ask(self.client, answer=OFFER)
        self.assertIn(b"Proxy-Support: Session-Based-Authentication\r\n", self.client.take())
        self.assertIsNot(self.ask(self.connect()), offered)
        self.assertIs(self.ask(self.client, NTLM, answer=CHALLENGE), offered)

    def test_persistent_authentication(self) -> None:
        one = self.ask(self.client, answer=response(b"", "Persistent-Auth: true"))
        self.assertNotIn(b"Proxy-Support", self.client.take())
        self.assertIsNot(self.ask(self.connect()), one)

    def test_credentials_from_the_decision(self) -> None:
        """Requests with other fields do not use the connection, and neither does another client connection."""
        terms = Obligations(set_headers=((b"Authorization", b"Negotiate secret"),))
        decision = Decision(Verdict.ALLOW, "ok", "script", obligations=terms)
        self.authorizer.answers = [decision]
        mine = self.ask(self.client)
        self.authorizer.answers = [decision]
        self.assertIsNot(self.ask(self.connect()), mine)
        self.assertIsNot(self.ask(self.client), mine)
        self.authorizer.answers = [decision]
        self.assertIs(self.ask(self.client), mine)

    def test_other_client_name_on_the_same_client_connection(self) -> None:
        mine = self.log_in(self.client)
        self.assertIsNot(self.ask(self.client, "Proxy-Authorization: Basic YTo="), mine)

    def test_closed_with_the_client_connection(self) -> None:
        origin = self.log_in(self.client)
        self.client.lose()
        self.clock.advance(0)
        self.assertTrue(origin.disconnected)
        self.assertEqual(len(self.proxy.pool), 0)

    def test_loss_closes_the_client_connection(self) -> None:
        origin = self.log_in(self.client)
        origin.lose()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_loss_during_a_request_to_another_origin(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://other.test/", host="other.test"))
        origin.lose()
        self.origin.feed(response())
        self.assertIn(b"Connection: close\r\n", self.client.take())
        self.assertTrue(self.client.disconnecting)

    def test_loss_after_the_head_of_another_response(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://other.test/", host="other.test"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        origin.lose()
        self.origin.feed(b"ok")
        self.assertTrue(self.client.disconnecting)

    def test_loss_during_the_decision(self) -> None:
        """The request relies on the authentication, so it is not forwarded."""
        origin = self.log_in(self.client)
        decision = self.authorizer.pending()
        self.client.feed(request())
        origin.lose()
        decision.callback(Decision(Verdict.ALLOW, "ok", "script"))
        answer = self.client.take()
        self.assertEqual(status_of(answer), 502)
        self.assertIn(b"Connection: close\r\n", answer)
        self.assertEqual(len(self.dialer.origins), 1)
        self.assertEqual(self.outcomes()[-1], "origin-disconnected")

    def test_no_retry_on_another_connection(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request())
        origin.take()
        origin.lose()
        self.assertEqual(status_of(self.client.take()), 502)
        self.assertEqual(len(self.dialer.origins), 1)

    def test_origin_ends_the_authentication(self) -> None:
        self.ask(self.client, NTLM, answer=response(b"", "Connection: close"))
        self.assertIn(b"Connection: close\r\n", self.client.take())
        self.assertTrue(self.client.disconnecting)

    def test_stale_challenged_connection(self) -> None:
        """It is replaced like any other connection."""
        offered = self.ask(self.client, answer=OFFER)
        self.client.take()
        self.client.feed(request())
        offered.lose()
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertFalse(session_of(self.client).logins.ended)

    def test_websocket_after_authentication(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://origin.test/a", *UPGRADE))
        self.assertIn(b"Upgrade: websocket\r\n", origin.take())
        self.assertTrue(connection_of(origin).logged_in)
        self.assertEqual(len(self.dialer.origins), 1)
