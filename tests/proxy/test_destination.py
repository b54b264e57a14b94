"""Tests for L{egress.proxy.destination}, and for the resulting order of authorization and name resolution."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Resolve
from egress.model.authority import Authority, Origin, UpstreamProxy, parse_ip
from egress.model.decision import ClientIdentity, Decision, Verdict
from egress.model.errors import AddressForbidden, EgressError, NameNotResolved, PortForbidden, ResolutionTimeout
from egress.model.route import Purpose, Route
from egress.proxy.destination import Destination
from egress.proxy.tunnel_replies import ESTABLISHED
from tests.proxy.fakes import (
    LOCAL,
    UPGRADE,
    Proxy,
    ProxyTestCase,
    allow,
    allow_with,
    deny,
    request,
    response,
    status_of,
)
from tests.proxy.tunnels import connect
from tests.transport.tls import leaves

ORIGIN = Origin("http", Authority("origin.test", 80))
CLIENT = ClientIdentity("198.51.100.7", 40000)
UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128))
ADDRESSES = Decision(Verdict.NEED_ADDRESSES, "addresses, please", "script")
CONTENT = Decision(Verdict.NEED_BODY, "content, please", "script")


class DestinationTests(SynchronousTestCase):
    """The known facts before and after name resolution."""

    def setUp(self) -> None:
        self.proxy = Proxy()

    def destination(self, origin: Origin = ORIGIN, resolve: Resolve = Resolve.AFTER) -> Destination:
        self.proxy.parts.origins.resolve = resolve
        return Destination(self.proxy.parts.origins, CLIENT, origin, Purpose.REQUEST)

    def known(self, destination: Destination) -> tuple[object, ...]:
        return destination.addresses, destination.withheld

    def test_a_name(self) -> None:
        destination = self.destination()
        self.assertFalse(destination.begin())
        self.assertEqual(self.known(destination), (None, True))
        self.assertIsNone(destination.route)
        self.assertEqual(self.proxy.dialer.checked, [])
        route = self.successResultOf(destination.look_up())
        self.assertIs(destination.route, route)
        self.assertEqual(self.known(destination), (None, True), "the addresses are not set yet")
        destination.set_addresses(route)
        self.assertEqual(self.known(destination), ((LOCAL,), False))
        self.assertEqual(self.proxy.dialer.checked_for, [CLIENT.limit_key])

    def test_a_name_that_is_looked_up_first(self) -> None:
        destination = self.destination(resolve=Resolve.BEFORE)
        self.assertTrue(destination.begin())
        self.assertEqual(self.known(destination), (None, True))
        self.successResultOf(destination.look_up_first())
        self.assertEqual(self.known(destination), ((LOCAL,), False))

    def test_an_address(self) -> None:
        for resolve in Resolve:
            destination = self.destination(Origin("http", Authority("192.0.2.9", 80)), resolve)
            self.assertFalse(destination.begin())
            self.assertEqual(self.known(destination), ((parse_ip("192.0.2.9"),), False))
            self.assertIsNotNone(destination.route)

    def test_an_upstream_proxy(self) -> None:
        for resolve in Resolve:
            self.proxy.dialer.judgements = [Route(ORIGIN, (), UPSTREAM, False, False)]
            destination = self.destination(resolve=resolve)
            self.assertFalse(destination.begin())
            self.assertEqual(self.known(destination), (None, False))

    def test_refused(self) -> None:
        self.proxy.dialer.judgements = [PortForbidden("not that port")]
        self.assertRaises(PortForbidden, self.destination().begin)

    def test_a_pooled_connection(self) -> None:
        """The authorizer gets the same facts with and without a pooled connection."""
        address = parse_ip("192.0.2.9")
        assert LOCAL is not None
        assert address is not None
        named = Route(ORIGIN, (LOCAL,), None, False, False)
        literal = Route(Origin("http", Authority("192.0.2.9", 80)), (address,), None, False, False)
        through = Route(ORIGIN, (), UPSTREAM, False, False)
        for pooled, after, before in (
            (named, (None, True), ((LOCAL,), False)),
            (literal, ((address,), False), ((address,), False)),
            (through, (None, False), (None, False)),
        ):
            for resolve, expected in ((Resolve.AFTER, after), (Resolve.BEFORE, before)):
                with self.subTest(pooled, resolve=resolve):
                    destination = self.destination(pooled.origin, resolve)
                    self.assertFalse(destination.begin(pooled))
                    self.assertEqual(self.known(destination), expected)

    def test_failed_resolution_is_not_retried(self) -> None:
        """A failed first resolution is not retried."""
        error = NameNotResolved("no address")
        self.proxy.dialer.checks = [error]
        destination = self.destination(resolve=Resolve.BEFORE)
        self.assertTrue(destination.begin())
        self.successResultOf(destination.look_up_first())
        self.assertIs(destination.resolution_error, error)
        self.assertIs(self.failureResultOf(destination.look_up(), NameNotResolved).value, error)
        self.assertEqual(len(self.proxy.dialer.checked), 1)

    def test_other_errors_are_raised(self) -> None:
        self.proxy.dialer.checks = [AddressForbidden("loopback")]
        destination = self.destination(resolve=Resolve.BEFORE)
        self.assertTrue(destination.begin())
        self.failureResultOf(destination.look_up_first(), AddressForbidden)
        self.assertIsNone(destination.resolution_error)


class OrderTestCase(ProxyTestCase):
    """Base of the tests of the order."""

    def asked(self) -> list[tuple[object, bool]]:
        """Return the addresses in each authorization request, and whether they were withheld."""
        return [(asked.addresses, asked.addresses_withheld) for asked in self.authorizer.asked]


class RequestOrderTests(OrderTestCase):
    """A request is checked, authorized, and only then resolved."""

    OTHER = parse_ip("192.0.2.2")

    def test_a_denied_name_is_not_looked_up(self) -> None:
        for fields in ((), UPGRADE):
            with self.subTest(fields):
                self.authorizer.answers = [deny()]
                client = self.connect()
                client.feed(request("GET", "http://secret-data.attacker.test/", *fields))
                self.assertEqual(status_of(client.written), 403)
        self.assertEqual(self.dialer.looked_up, [])
        self.assertEqual(self.asked(), [(None, True)] * 2)

    def test_nothing_is_looked_up_before_the_decision(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.assertEqual(self.dialer.looked_up, [])
        decision.callback(allow())
        self.assertEqual((self.dialer.looked_up, len(self.dialer.dialled)), (["origin.test"], 1))
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_an_authorizer_failure(self) -> None:
        self.authorizer.answers = [RuntimeError("oops")]
        self.client.feed(request())
        self.assertEqual((status_of(self.client.written), self.dialer.looked_up), (503, []))
        self.flushLoggedErrors(RuntimeError)

    def test_a_look_up_that_fails(self) -> None:
        for error, status in ((NameNotResolved("no address"), 502), (ResolutionTimeout("silence"), 504)):
            with self.subTest(status):
                self.dialer.checks = [error]
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), status)
                self.assertEqual((self.records[-1].verdict, self.records[-1].reason), ("allow", error.reason))
        self.assertEqual(self.dialer.dialled, [])

    def test_content_waits_for_the_look_up(self) -> None:
        self.authorizer.needs_body = False
        looking = self.dialer.pending(self.dialer.checks)
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual(self.dialer.dialled, [])
        looking.callback(self.dialer.route(ORIGIN, Purpose.REQUEST))
        self.clock.advance(0)
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\ncontent"))

    def test_the_authorizer_needs_addresses(self) -> None:
        self.authorizer.answers = [ADDRESSES, deny()]
        self.client.feed(request())
        self.assertEqual(self.asked(), [(None, True), ((LOCAL,), False)])
        self.assertEqual((status_of(self.client.take()), self.dialer.dialled), (403, []))
        self.assertEqual(len({asked.request_id for asked in self.authorizer.asked}), 1)
        self.authorizer.answers = [ADDRESSES, allow()]
        self.client.feed(request())
        self.assertEqual(
            (len(self.dialer.looked_up), len(self.dialer.dialled)), (2, 1), "each request resolves the name"
        )

    def test_needed_addresses_that_do_not_exist(self) -> None:
        """The resolution error is the result, without another authorization request."""
        for error, status in (
            (NameNotResolved("no address"), 502),
            (ResolutionTimeout("silence"), 504),
            (AddressForbidden("loopback"), 403),
        ):
            with self.subTest(status):
                self.authorizer.answers = [ADDRESSES]
                self.dialer.checks = [error]
                before = len(self.authorizer.asked)
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), status)
                self.assertEqual(len(self.authorizer.asked), before + 1)
        self.assertEqual(self.records[-1].decided_by, "proxy")

    def test_addresses_are_needed_twice(self) -> None:
        self.authorizer.answers = [ADDRESSES, ADDRESSES]
        self.client.feed(request())
        self.assertEqual((status_of(self.client.written), len(self.authorizer.asked)), (503, 2))
        self.assertIn("that were not withheld", self.records[0].reason)

    def test_addresses_are_needed_without_a_look_up(self) -> None:
        through = Route(ORIGIN, (), UPSTREAM, False, False)
        for url, judgements in (("http://192.0.2.9/", []), ("http://origin.test/", [through])):
            with self.subTest(url):
                self.authorizer.answers = [ADDRESSES]
                self.dialer.judgements = list(judgements)
                self.client.feed(request("GET", url))
                self.assertEqual(status_of(self.client.take()), 503)
        self.assertEqual(self.dialer.looked_up, [])

    def test_content_and_addresses_are_needed(self) -> None:
        """Content and addresses are provided in either order, each once."""
        for first, second in ((CONTENT, ADDRESSES), (ADDRESSES, CONTENT)):
            with self.subTest(first=first.verdict):
                self.build()
                self.authorizer.needs_body = False
                self.authorizer.answers = [first, second, allow()]
                self.client.feed(request("POST", body=b"content"))
                self.clock.advance(0)
                asked = [
                    (each.body, each.body_withheld, each.addresses, each.addresses_withheld)
                    for each in self.authorizer.asked
                ]
                between = (b"content", False, None, True) if first is CONTENT else (None, True, (LOCAL,), False)
                self.assertEqual(asked, [(None, True, None, True), between, (b"content", False, (LOCAL,), False)])
                self.assertTrue(self.origin.take().endswith(b"\r\n\r\ncontent"))
                self.assertEqual(len(self.dialer.looked_up), 1)

    def test_content_and_addresses_are_needed_and_one_again(self) -> None:
        for third in (CONTENT, ADDRESSES):
            self.build()
            self.authorizer.needs_body = False
            self.authorizer.answers = [CONTENT, ADDRESSES, third]
            self.client.feed(request("POST", body=b"content"))
            self.clock.advance(0)
            self.assertEqual((status_of(self.client.written), len(self.authorizer.asked)), (503, 3))

    def test_the_client_disconnects_meanwhile(self) -> None:
        for answers in ([], [ADDRESSES]):
            client = self.connect()
            self.authorizer.answers = list(answers)
            self.dialer.pending(self.dialer.checks)
            client.feed(request())
            client.lose()
            self.assertEqual(self.outcomes()[-1], "client-disconnected")
        self.assertEqual(self.dialer.cancelled, 2)

    # -- pooled connections

    def test_a_pooled_connection_needs_no_look_up(self) -> None:
        self.use_once()
        self.client.feed(request())
        self.assertEqual((len(self.dialer.looked_up), len(self.dialer.dialled)), (1, 1))
        self.assertEqual(self.asked(), [(None, True)] * 2, "the authorization request is the same")

    def test_a_pooled_connection_has_the_addresses(self) -> None:
        self.use_once()
        self.authorizer.answers = [ADDRESSES, allow()]
        self.client.feed(request())
        self.assertEqual(self.asked()[1:], [(None, True), ((LOCAL,), False)])
        self.assertEqual((len(self.dialer.looked_up), len(self.dialer.dialled)), (1, 1))

    def test_not_for_an_upgrade(self) -> None:
        """An upgrade opens a new connection, so only its own addresses matter."""
        self.use_once()
        self.authorizer.answers = [ADDRESSES, allow()]
        self.client.feed(request("GET", "http://origin.test/", *UPGRADE))
        self.assertEqual((len(self.dialer.looked_up), len(self.dialer.dialled)), (2, 2))

    def authorize_with_lost_pooled_connection(self, then: Any) -> None:
        """Have the addresses of a pooled connection authorized; by then the connection is lost."""
        self.use_once()
        self.authorizer.answers = [ADDRESSES]
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.proxy.pool.clear()
        self.dialer.checks = [then]
        self.clock.advance(1)
        decision.callback(allow())

    def test_the_pooled_connection_is_lost(self) -> None:
        assert LOCAL is not None
        self.authorize_with_lost_pooled_connection(Route(ORIGIN, (LOCAL,), None, False, False))
        self.assertEqual((len(self.asked()), len(self.dialer.dialled)), (3, 2))

    def test_the_pooled_connection_is_lost_and_the_addresses_change(self) -> None:
        assert self.OTHER is not None
        self.authorizer.answers = []
        self.authorize_with_lost_pooled_connection(Route(ORIGIN, (self.OTHER,), None, False, False))
        self.assertEqual(self.asked()[2:], [((LOCAL,), False), ((self.OTHER,), False)])

    def test_a_stale_connection(self) -> None:
        """The request is retried, and the name is resolved for it."""
        self.use_once()
        self.client.feed(request())
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual((len(self.dialer.looked_up), len(self.dialer.dialled)), (2, 2))
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    # -- after the decision

    def test_a_lease_renewal(self) -> None:
        """A renewal that needs the addresses gets those of the connection."""
        self.authorizer.answers = [
            allow_with(expires_in=5),
            ADDRESSES,
            deny("no more"),
        ]
        self.client.feed(request())
        self.clock.advance(5)
        self.assertEqual(self.asked(), [(None, True), (None, True), ((LOCAL,), False)])
        self.assertEqual(self.outcomes(), ["lease-revoked"])

    def test_observed_decisions_stay_recorded(self) -> None:
        """Also if the addresses that the authorizer needs are not available."""
        self.authorizer.answers = [attrs.evolve(ADDRESSES, observed="deny", rule_id="r")]
        self.dialer.checks = [NameNotResolved("no address")]
        self.client.feed(request())
        (record,) = self.records
        self.assertEqual(
            (record.verdict, record.observed, record.rule_id, record.outcome),
            ("allow", "deny", "r", "name-not-resolved"),
        )


class FirstTests(OrderTestCase):
    """With C{--resolve before}, the first authorization request contains the addresses."""

    def setUp(self) -> None:
        self.build(resolve=Resolve.BEFORE)

    def test_the_authorization_request(self) -> None:
        self.client.feed(request())
        self.assertEqual(self.asked(), [((LOCAL,), False)])
        self.assertEqual(len(self.dialer.looked_up), 1)

    def test_a_forbidden_address(self) -> None:
        self.dialer.checks = [AddressForbidden("loopback")]
        self.client.feed(request())
        self.assertEqual((status_of(self.client.written), self.authorizer.asked), (403, []))

    def test_a_name_without_addresses(self) -> None:
        """A denial takes precedence; otherwise the resolution error is the result."""
        for answer, status in ((deny(), 403), (allow(), 502), (ADDRESSES, 502)):
            with self.subTest(answer.verdict):
                self.authorizer.answers = [answer]
                self.dialer.checks = [NameNotResolved("no address")]
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), status)
                self.assertTrue(self.authorizer.asked[-1].addresses_withheld)
        self.assertEqual((len(self.dialer.looked_up), self.dialer.dialled), (3, []))


class TunnelOrderTests(OrderTestCase):
    """An intercepted CONNECT resolves nothing; a passthrough CONNECT resolves the name after it is allowed."""

    def test_intercepted(self) -> None:
        self.build(leaves=leaves())
        self.authorizer.answers = [deny()]
        self.client.feed(connect())
        self.assertEqual(self.client.take(), ESTABLISHED)
        self.client.feed(b"GET / HTTP/1.1\r\nHost: origin.test:443\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.dialer.looked_up), (403, []))

    def passthrough(self, resolve: Resolve = Resolve.AFTER) -> None:
        self.build(leaves=leaves(), passthrough=("origin.test",), resolve=resolve)

    def test_denied(self) -> None:
        self.passthrough()
        self.authorizer.answers = [deny()]
        self.client.feed(connect())
        self.assertEqual((self.asked(), self.dialer.looked_up), ([(None, True)], []))
        self.assertEqual(self.outcomes(), ["denied"])

    def test_allowed(self) -> None:
        self.passthrough()
        decision = self.authorizer.pending()
        self.client.feed(connect())
        self.assertEqual(self.dialer.looked_up, [])
        decision.callback(allow())
        self.assertEqual((self.dialer.looked_up, self.client.take()), (["origin.test"], ESTABLISHED))

    def test_the_authorizer_needs_addresses(self) -> None:
        for answer, dialled in ((deny(), 0), (allow(), 1)):
            self.passthrough()
            self.authorizer.answers = [ADDRESSES, answer]
            self.client.feed(connect())
            self.assertEqual(self.asked(), [(None, True), ((LOCAL,), False)])
            self.assertEqual((len(self.dialer.looked_up), len(self.dialer.dialled)), (1, dialled))

    def test_errors(self) -> None:
        error: EgressError
        for answers in ([allow()], [ADDRESSES]):
            for error, outcome in (
                (NameNotResolved("no address"), "name-not-resolved"),
                (ResolutionTimeout("silence"), "resolution-timeout"),
                (AddressForbidden("loopback"), "address-forbidden"),
            ):
                with self.subTest(outcome):
                    self.passthrough()
                    self.authorizer.answers = list(answers)
                    self.dialer.checks = [error]
                    self.client.feed(connect())
                    self.assertEqual((self.outcomes(), self.dialer.dialled), ([outcome], []))

    def test_names_that_the_guard_refuses(self) -> None:
        self.passthrough()
        self.dialer.judgements = [AddressForbidden("loopback")]
        self.client.feed(connect())
        self.assertEqual((self.authorizer.asked, self.outcomes()), ([], ["address-forbidden"]))

    def test_resolved_first(self) -> None:
        self.passthrough(Resolve.BEFORE)
        self.client.feed(connect())
        self.assertEqual(self.asked(), [((LOCAL,), False)])
        for answer, outcome in ((deny(), "denied"), (allow(), "name-not-resolved")):
            self.passthrough(Resolve.BEFORE)
            self.authorizer.answers = [answer]
            self.dialer.checks = [NameNotResolved("no address")]
            self.client.feed(connect())
            self.assertEqual((self.outcomes(), self.dialer.dialled), ([outcome], []))

    def test_a_lease_renewal(self) -> None:
        self.passthrough()
        self.authorizer.answers = [
            allow_with(expires_in=5),
            ADDRESSES,
            deny("no more"),
        ]
        self.client.feed(connect())
        self.clock.advance(5)
        self.assertEqual(self.asked(), [(None, True), (None, True), ((LOCAL,), False)])
        self.assertEqual(self.outcomes(), ["lease-revoked"])
