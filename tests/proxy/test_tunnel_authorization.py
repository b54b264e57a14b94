"""Tests for L{egress.proxy.tunnel_authorization}; L{tests.proxy.test_destination} has those of whole tunnels."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Resolve
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, Stage, Verdict
from egress.model.errors import Denied, EgressError, NameNotResolved, PortForbidden
from egress.model.route import Purpose, Route
from egress.proxy.destination import Destination
from egress.proxy.transaction import Transaction
from egress.proxy.tunnel_authorization import TunnelAuthorization
from tests.proxy.fakes import LOCAL, Proxy, allow, deny

AUTHORITY = Authority("origin.test", 443)
ORIGIN = Origin("https", AUTHORITY)
CLIENT = ClientIdentity("198.51.100.7", 40000)


class TunnelAuthorizationTests(SynchronousTestCase):
    """The order of authorization and name resolution, and the result."""

    def setUp(self) -> None:
        self.proxy = Proxy()
        self.routes: list[Route] = []
        self.refusals: list[EgressError] = []

    def begin(self, resolve: Resolve = Resolve.AFTER) -> None:
        """Authorize a tunnel."""
        self.proxy.parts.origins.resolve = resolve
        transaction = Transaction(
            self.proxy.parts.authz,
            self.refusals.append,
            client=CLIENT,
            stage=Stage.TUNNEL,
            method="CONNECT",
            origin=ORIGIN,
            path="",
        )
        destination = Destination(self.proxy.parts.origins, CLIENT, ORIGIN, Purpose.TUNNEL)
        TunnelAuthorization(transaction, AUTHORITY, destination, self.routes.append, self.refusals.append).begin()

    def test_allowed(self) -> None:
        self.proxy.authorizer.answers = [allow()]
        self.begin()
        self.assertEqual([route.origin for route in self.routes], [ORIGIN])
        (asked,) = self.proxy.authorizer.asked
        self.assertEqual((asked.headers, asked.addresses_withheld), (((b"Host", b"origin.test:443"),), True))
        self.assertEqual(len(self.proxy.dialer.checked), 1)

    def test_denied(self) -> None:
        """A denied name is not resolved."""
        self.proxy.authorizer.answers = [deny()]
        self.begin()
        self.assertEqual(([type(error) for error in self.refusals], self.routes), ([Denied], []))
        self.assertEqual(self.proxy.dialer.checked, [])

    def test_addresses_on_demand(self) -> None:
        self.proxy.authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "addresses, please", "script"), allow()]
        self.begin()
        self.assertEqual([asked.addresses for asked in self.proxy.authorizer.asked], [None, (LOCAL,)])
        self.assertEqual((len(self.routes), len(self.proxy.dialer.checked)), (1, 1))

    def test_resolution_first(self) -> None:
        self.proxy.authorizer.answers = [allow()]
        self.begin(Resolve.BEFORE)
        self.assertEqual([asked.addresses for asked in self.proxy.authorizer.asked], [(LOCAL,)])
        self.assertEqual((len(self.routes), len(self.proxy.dialer.checked)), (1, 1))

    def test_an_unknown_name(self) -> None:
        self.proxy.authorizer.answers = [allow()]
        self.proxy.dialer.checks = [NameNotResolved("no address")]
        self.begin()
        self.assertEqual(([type(error) for error in self.refusals], self.routes), ([NameNotResolved], []))

    def test_a_refused_port(self) -> None:
        self.proxy.dialer.judgements = [PortForbidden("no")]
        self.begin()
        self.assertEqual([type(error) for error in self.refusals], [PortForbidden])
        self.assertEqual(self.proxy.authorizer.asked, [])
