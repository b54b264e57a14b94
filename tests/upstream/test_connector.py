"""Tests for L{egress.upstream.connector}."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from egress.interfaces import IDialer
from egress.model.authority import Authority, Origin
from egress.model.errors import (
    AddressForbidden,
    NameNotResolved,
    PortForbidden,
    ResolutionTimeout,
)
from egress.model.no_proxy import Bypass
from egress.model.route import Purpose
from tests.upstream.test_dial import HTTP, HTTPS, PROXY, TLS_PROXY, DialTestCase


class CheckTests(DialTestCase):
    """Every address is classified before a connection is opened."""

    def test_interface(self) -> None:
        self.assertTrue(IDialer.providedBy(self.dialer))

    def test_direct(self) -> None:
        route = self.check()
        self.assertEqual(
            (list(map(str, route.addresses)), route.upstream, route.tls, route.connect),
            (["192.0.2.1", "192.0.2.2"], None, False, False),
        )
        self.assertFalse(route.absolute_form)
        self.assertEqual(self.guard.asked, [HTTP.authority, ("192.0.2.1", 80), ("192.0.2.2", 80)])
        self.assertEqual(self.reactor.attempts, [])

    def test_tls_is_for_https_but_not_for_tunnels(self) -> None:
        self.assertTrue(self.check(HTTPS).tls)
        self.assertTrue(self.check(HTTPS, Purpose.UPGRADE).tls)
        self.assertFalse(self.check(HTTPS, Purpose.TUNNEL).tls)

    def test_judged_without_a_lookup(self) -> None:
        self.assertIsNone(self.dialer.judge(HTTP, Purpose.REQUEST))
        literal = self.dialer.judge(Origin("https", Authority("192.0.2.9", 443)), Purpose.REQUEST)
        assert literal is not None
        self.assertEqual((list(map(str, literal.addresses)), literal.tls), (["192.0.2.9"], True))
        for host in ("localhost", "origin.test"):
            origin = Origin("http", Authority(host, 80))
            self.guard.refused[origin.authority] = "not that one"
            self.assertRaises(AddressForbidden, self.dialer.judge, origin, Purpose.REQUEST)
            self.failureResultOf(self.dialer.check(origin, Purpose.REQUEST), AddressForbidden)
        self.assertEqual(self.reactor.looked_up, [])
        # The resolver determines where a name without a dot points.
        short = Origin("http", Authority("metadata", 80))
        self.guard.refused[short.authority] = "a cloud's"
        self.assertIsNone(self.dialer.judge(short, Purpose.REQUEST))
        self.build(upstream_http=PROXY)
        self.guard.refused = {short.authority: "a cloud's"}
        self.assertRaises(AddressForbidden, self.dialer.judge, short, Purpose.REQUEST)

    def test_one_forbidden_address_forbids_the_name(self) -> None:
        self.guard.refused = {"192.0.2.2": "loopback"}
        error = self.failureResultOf(self.dialer.check(HTTP, Purpose.REQUEST), AddressForbidden).value
        self.assertEqual(error.reason, "origin.test resolves to 192.0.2.2: loopback")

    def test_forbidden_literal_address(self) -> None:
        self.guard.refused = {"192.0.2.2": "loopback"}
        origin = Origin("http", Authority("192.0.2.2", 80))
        error = self.failureResultOf(self.dialer.check(origin, Purpose.REQUEST), AddressForbidden).value
        self.assertEqual(error.reason, "loopback")

    def test_names_that_do_not_resolve(self) -> None:
        self.reactor.names["origin.test"] = []
        self.failureResultOf(self.dialer.check(HTTP, Purpose.REQUEST), NameNotResolved)

    def test_resolution_timeout(self) -> None:
        del self.reactor.names["origin.test"]
        checked = self.dialer.check(HTTP, Purpose.REQUEST)
        self.reactor.advance(10)
        self.failureResultOf(checked, ResolutionTimeout)

    def test_resolution_is_cancelled(self) -> None:
        del self.reactor.names["origin.test"]
        checked = self.dialer.check(HTTP, Purpose.REQUEST)
        checked.cancel()
        self.failureResultOf(checked, CancelledError)

    def test_upstream_proxy_resolves_the_name(self) -> None:
        self.build(upstream_http=PROXY, upstream_https=TLS_PROXY)
        for origin, purpose, upstream, tls, connect in (
            (HTTP, Purpose.REQUEST, PROXY, False, False),
            (HTTP, Purpose.UPGRADE, TLS_PROXY, False, True),
            (HTTPS, Purpose.REQUEST, TLS_PROXY, True, True),
            (HTTPS, Purpose.TUNNEL, TLS_PROXY, False, True),
        ):
            with self.subTest(f"{origin} {purpose}"):
                route = self.check(origin, purpose)
                self.assertEqual(
                    (route.upstream, route.tls, route.connect, route.addresses), (upstream, tls, connect, ())
                )
                self.assertEqual(route.absolute_form, not connect)
        self.assertEqual(self.reactor.looked_up, [])

    def test_forbidden_port(self) -> None:
        """No name is resolved for the request, and the port is forbidden behind an upstream proxy as well."""
        for options in ({}, {"upstream_http": PROXY}):
            self.build(**options)
            self.guard.refused = {80: "not that port"}
            error = self.failureResultOf(self.dialer.check(HTTP, Purpose.REQUEST), PortForbidden).value
            self.assertEqual((error.reason, self.reactor.looked_up), ("not that port", []))

    def test_single_upstream_proxy(self) -> None:
        self.build(upstream_http=PROXY)
        self.assertIs(self.check(HTTP, Purpose.UPGRADE).upstream, PROXY)
        self.assertIsNone(self.check(HTTPS).upstream)
        self.build(upstream_https=PROXY)
        self.assertIsNone(self.check(HTTP).upstream)

    def test_bypass(self) -> None:
        self.build(upstream_http=PROXY, upstream_https=PROXY, bypass=Bypass.parse("origin.test"))
        self.assertIsNone(self.check(HTTP).upstream)
        self.assertIsNone(self.check(HTTPS).upstream)

    def test_forbidden_name_behind_the_upstream_proxy(self) -> None:
        self.build(upstream_http=PROXY)
        self.guard.refused = {HTTP.authority: "localhost"}
        error = self.failureResultOf(self.dialer.check(HTTP, Purpose.REQUEST), AddressForbidden).value
        self.assertEqual(error.reason, "localhost")
