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
from egress.upstream import authenticated_connections as module
from egress.upstream.authenticated_connections import AuthenticatedConnections
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.pool import OriginPool
from tests.proxy.fakes import UPGRADE, ProxyTestCase, Wire, connection_of, request, response, session_of, status_of

ORIGIN = Origin("http", Authority("origin.test", 80))
ROUTE = Route(ORIGIN, (), None, False, False)
KEY: PoolKey = (("198.51.100.7", b""), ORIGIN)
OTHER: PoolKey = (("198.51.100.8", b""), ORIGIN)


class LoginsTests(SynchronousTestCase):
    """What rests for one client connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = OriginPool(self.clock, Limits(pool_per_origin=2, pool_total=5, idle_timeout=40))
        self.finished = 0
        self.logins = AuthenticatedConnections(self.pool, self.finish)
        self.wires: dict[OriginConnection, Wire] = {}

    def finish(self) -> None:
        """End the client connection."""
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
        """A connected one."""
        connection = OriginConnection(route, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        connection.private, connection.logged_in = private, logged_in
        self.wires[connection] = Wire(self.clock).connect(connection)
        return connection

    def keep(
        self, key: PoolKey = KEY, logins: AuthenticatedConnections | None = None, **options: Any
    ) -> OriginConnection:
        """Have one rest."""
        connection = self.connection(**options)
        (logins or self.logins).keep(key, connection)
        return connection

    def take(
        self, key: PoolKey = KEY, logins: AuthenticatedConnections | None = None, **options: Any
    ) -> OriginConnection | None:
        """Take one."""
        return (logins or self.logins).take(key, repeatable=False, addresses=None, **options)

    def closed(self, connection: OriginConnection) -> bool:
        """Whether one was closed."""
        self.clock.advance(0)
        return self.wires[connection].disconnected

    def test_private_ones_are_for_one_client_connection(self) -> None:
        other = AuthenticatedConnections(self.pool, self.finish)
        connection = self.keep()
        self.assertEqual(self.logins.route(KEY), ROUTE)
        self.assertIsNone(other.route(KEY))
        self.assertIsNone(self.take(logins=other))
        self.assertIsNone(self.take(OTHER))
        self.assertIs(self.take(), connection)
        self.assertIsNone(self.take())
        self.logins.keep(KEY, connection)

    def test_others_are_shared(self) -> None:
        other = AuthenticatedConnections(self.pool, self.finish)
        connection = self.keep(private=False, logged_in=False)
        self.assertEqual(other.route(KEY), ROUTE)
        self.assertIsNone(self.take(upgrade=True))
        self.assertIsNone(self.take(fresh=True))
        self.assertIs(self.take(logins=other), connection)
        other.keep(KEY, connection)

    def test_a_login_is_used_for_whatever_is_asked(self) -> None:
        """However long it rested, and for another protocol as well."""
        connection = self.keep()
        self.clock.advance(30)
        self.assertIs(self.take(upgrade=True, fresh=True), connection)
        self.logins.keep(KEY, connection)

    def test_what_was_only_asked_to_log_in_is_no_login(self) -> None:
        connection = self.keep(logged_in=False)
        self.clock.advance(3)
        self.assertIsNone(self.take(), "it may be stale, and there is nothing to lose")
        self.wires[connection].lose()
        self.assertFalse(self.logins.lost(KEY) or self.logins.ended)
        self.assertEqual(self.finished, 0)

    def test_an_upstream_proxy_that_reads_requests_has_no_other_protocol(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), None)
        self.keep(route=attrs.evolve(ROUTE, upstream=upstream))
        self.assertIsNone(self.take(upgrade=True))
        self.assertIsNotNone(self.logins.route(KEY))

    def test_other_addresses(self) -> None:
        one = ip_address("192.0.2.1")
        first = self.keep(route=attrs.evolve(ROUTE, addresses=(one,)))
        self.assertIsNone(self.logins.take(KEY, repeatable=True, addresses=()))
        second = self.keep()
        self.assertTrue(self.closed(first))
        self.assertFalse(self.logins.ended, "the login went on over the second")
        self.assertIs(self.take(), second)
        self.logins.keep(KEY, second)

    def test_lost(self) -> None:
        connection = self.keep()
        self.wires[connection].lose()
        self.assertTrue(self.logins.lost(KEY) and self.logins.ended)
        self.assertFalse(self.logins.lost(OTHER))
        self.assertEqual(self.finished, 1)

    def test_idle_for_too_long(self) -> None:
        connection = self.keep()
        self.clock.advance(40)
        self.assertTrue(self.closed(connection))
        self.assertEqual(self.finished, 1)

    def test_the_pool_is_cleared(self) -> None:
        """A login is lost with it, whether it rests or is in use."""
        resting, busy = self.keep(), self.connection()
        self.clock.advance(1)
        self.pool.clear()
        self.logins.keep(OTHER, busy)
        self.assertTrue(self.closed(resting) and self.closed(busy))
        self.assertEqual(self.finished, 2)

    def test_the_bound_of_one_client_connection(self) -> None:
        self.patch(module, "MAX_PER_SESSION", 2)
        oldest, *others = [self.keep((KEY[0], ORIGIN, number)) for number in range(3)]
        self.assertTrue(self.closed(oldest))
        self.assertFalse(any(map(self.closed, others)))
        self.assertEqual(self.finished, 1)

    def test_the_bound_of_one_client(self) -> None:
        self.patch(module, "MAX_PER_CLIENT", 2)
        several = [AuthenticatedConnections(self.pool, self.finish) for _ in range(3)]
        connections = [self.keep(logins=logins) for logins in several]
        self.assertEqual([self.closed(one) for one in connections], [False, False, True])
        self.assertEqual([logins.lost(KEY) for logins in several], [False, False, True])
        self.assertFalse(self.closed(self.keep(OTHER, several[2])), "another client")
        for logins in several:
            logins.drop()

    def test_the_bound_counts_ipv6_by_64(self) -> None:
        self.patch(module, "MAX_PER_CLIENT", 1)
        hosts = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
        connections = [self.keep(((host, b""), ORIGIN)) for host in hosts]
        self.assertEqual([self.closed(one) for one in connections], [False, True, False])

    def test_dropped(self) -> None:
        connection = self.keep()
        self.logins.drop()
        late = self.keep()
        self.assertTrue(self.closed(connection) and self.closed(late))
        self.assertEqual(self.finished, 0)


NTLM = "Authorization: NTLM TlRMTVNTUAABAAAA"
CHALLENGE = response(b"", "WWW-Authenticate: NTLM TlRMTVNTUAACAAAA", status="401 Unauthorized")
OFFER = response(b"", "WWW-Authenticate: Basic realm=x", "www-authenticate: negotiate, ntlm", status="401 No")


class SessionTests(ProxyTestCase):
    """Requests of client connections, where an origin authenticates connections."""

    def ask(self, client: Wire, *fields: str, answer: bytes | None = None, method: str = "GET") -> Wire:
        """Ask, and be answered.

        @return: the origin that was asked.
        """
        client.feed(request(method, "http://origin.test/a", *fields))
        (asked,) = [wire for wire in self.dialer.origins if wire.written]
        self.assertIsInstance(asked, Wire)
        asked.take()
        asked.feed(answer or response())
        return asked

    def log_in(self, client: Wire) -> Wire:
        """Log a client in."""
        origin = self.ask(client, NTLM, answer=CHALLENGE)
        self.assertIs(self.ask(client, NTLM), origin)
        client.take()
        return origin

    def test_a_login_is_not_shared(self) -> None:
        mine = self.log_in(self.client)
        other = self.connect()
        self.assertIsNot(self.ask(other), mine)
        self.assertIs(self.ask(self.client), mine)

    def test_logins_at_the_same_time(self) -> None:
        other = self.connect()
        mine, theirs = self.ask(self.client, NTLM, answer=CHALLENGE), self.ask(other, NTLM, answer=CHALLENGE)
        self.assertIsNot(mine, theirs)
        for method in ("POST", "GET", "DELETE"):
            self.assertIs(self.ask(self.client, NTLM, method=method), mine)
            self.assertIs(self.ask(other, NTLM, method=method), theirs)

    def test_a_login_begins_on_a_connection_of_its_own(self) -> None:
        """Whatever was sent over a shared one before: another client may have begun something there."""
        shared = self.ask(self.client)
        self.assertIsNot(self.ask(self.client, NTLM, answer=CHALLENGE), shared)

    def test_a_connection_that_was_asked_to_log_in_is_private(self) -> None:
        offered = self.ask(self.client, answer=OFFER)
        self.assertIn(b"Proxy-Support: Session-Based-Authentication\r\n", self.client.take())
        self.assertIsNot(self.ask(self.connect()), offered)
        self.assertIs(self.ask(self.client, NTLM, answer=CHALLENGE), offered)

    def test_persistent_authentication(self) -> None:
        one = self.ask(self.client, answer=response(b"", "Persistent-Auth: true"))
        self.assertNotIn(b"Proxy-Support", self.client.take())
        self.assertIsNot(self.ask(self.connect()), one)

    def test_credentials_that_the_decision_sets(self) -> None:
        """Those who get other fields do not get the connection, and neither does another client connection."""
        terms = Obligations(set_headers=((b"Authorization", b"Negotiate secret"),))
        decision = Decision(Verdict.ALLOW, "ok", "script", obligations=terms)
        self.authorizer.answers = [decision]
        mine = self.ask(self.client)
        self.authorizer.answers = [decision]
        self.assertIsNot(self.ask(self.connect()), mine)
        self.assertIsNot(self.ask(self.client), mine)
        self.authorizer.answers = [decision]
        self.assertIs(self.ask(self.client), mine)

    def test_another_name_on_the_same_client_connection(self) -> None:
        mine = self.log_in(self.client)
        self.assertIsNot(self.ask(self.client, "Proxy-Authorization: Basic YTo="), mine)

    def test_closed_with_the_client(self) -> None:
        origin = self.log_in(self.client)
        self.client.lose()
        self.clock.advance(0)
        self.assertTrue(origin.disconnected)
        self.assertEqual(len(self.proxy.pool), 0)

    def test_the_client_is_closed_with_it(self) -> None:
        origin = self.log_in(self.client)
        origin.lose()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_lost_while_the_client_asks_another_origin(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://other.test/", host="other.test"))
        origin.lose()
        self.origin.feed(response())
        self.assertIn(b"Connection: close\r\n", self.client.take())
        self.assertTrue(self.client.disconnecting)

    def test_lost_after_the_head_of_another_answer(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://other.test/", host="other.test"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        origin.lose()
        self.origin.feed(b"ok")
        self.assertTrue(self.client.disconnecting)

    def test_lost_while_it_is_decided(self) -> None:
        """The request counts on the login: it goes nowhere else."""
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

    def test_nothing_is_sent_again_over_another(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request())
        origin.take()
        origin.lose()
        self.assertEqual(status_of(self.client.take()), 502)
        self.assertEqual(len(self.dialer.origins), 1)

    def test_an_origin_that_ends_the_login(self) -> None:
        self.ask(self.client, NTLM, answer=response(b"", "Connection: close"))
        self.assertIn(b"Connection: close\r\n", self.client.take())
        self.assertTrue(self.client.disconnecting)

    def test_a_stale_one_that_was_only_asked_to_log_in(self) -> None:
        """It is replaced, as any other is."""
        offered = self.ask(self.client, answer=OFFER)
        self.client.take()
        self.client.feed(request())
        offered.lose()
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertFalse(session_of(self.client).logins.ended)

    def test_a_websocket_after_a_login(self) -> None:
        origin = self.log_in(self.client)
        self.client.feed(request("GET", "http://origin.test/a", *UPGRADE))
        self.assertIn(b"Upgrade: websocket\r\n", origin.take())
        self.assertTrue(connection_of(origin).logged_in)
        self.assertEqual(len(self.dialer.origins), 1)
