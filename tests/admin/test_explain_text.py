"""Tests for L{egress.admin.explain_text}; C{tests.admin.test_explain} tests it in whole explanations."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from egress.admin.explain_text import describe, of_route, of_terms
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.message import MessageObligation
from egress.model.route import Route
from egress.upstream.address_guard import AddressGuard
from tests.authz.budgets.fleet import budget

ORIGIN = Origin("http", Authority("a.test", 8080))
ONE, TWO = ip_address("1.2.3.4"), ip_address("10.1.2.3")


class WordsTests(SynchronousTestCase):
    """Descriptions of addresses, routes and obligations."""

    def test_addresses(self) -> None:
        guard = AddressGuard(
            (ip_network("127.0.0.0/8"),), is_local=lambda _: False, deny=(ip_network("1.2.3.0/24"),), block_private=True
        )
        found = describe(guard, (ONE, TWO, ip_address("127.0.0.1"), ip_address("::1"), ip_address("8.8.8.8")), 80)
        self.assertEqual(
            found,
            [
                "1.2.3.4: rejected, excluded by the configuration",
                "10.1.2.3: rejected, a private address",
                "127.0.0.1: a loopback address, permitted by --allow-address",
                "::1: rejected, a loopback address",
                "8.8.8.8: a public address",
            ],
        )
        self.assertEqual(describe(AddressGuard(is_local=lambda _: False), (TWO,), 80), ["10.1.2.3: a private address"])

    def test_routes(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for addresses, through, expected in (
            ((ONE,), None, "one address, permitted"),
            ((ONE, TWO), None, "2 addresses, all permitted"),
            ((), upstream, "port 8080 is permitted; proxy.test:3128 resolves the name"),
            ((ONE,), UpstreamProxy("socks5", upstream.authority), "one address, permitted"),
        ):
            self.assertEqual(of_route(Route(ORIGIN, addresses, through, False, False)), expected)

    def test_obligations(self) -> None:
        terms = Obligations(
            ((b"X-A", b"hunter2"),), (b"cookie",), 7, 60, (), MessageObligation(max_size=9), (budget(),)
        )
        decision = Decision(Verdict.ALLOW, "why", "who", obligations=terms, observed="deny", source="cache")
        self.assertEqual(
            of_terms(decision),
            [
                "observe mode: in enforce mode, the result would be deny",
                "from: cache",
                "at most 7 bytes",
                "authorized again after 60 s",
                "permits 10 requests per 10s ([rules.budget])",
                "authorizes each message of client and origin, of at most 9 bytes",
                "sets X-A",
                "removes cookie",
            ],
        )
        self.assertEqual(of_terms(Decision(Verdict.DENY, "why", "who")), [])
