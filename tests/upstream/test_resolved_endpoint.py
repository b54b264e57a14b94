"""Tests for L{egress.upstream.resolved_endpoint}."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import Limits
from egress.model.authority import Authority, parse_ip
from egress.model.errors import NameNotResolved
from egress.testing.origin import MemoryOrigin
from egress.testing.reactor import MemoryReactor
from egress.transport.reactor import IEgressReactor
from egress.upstream.lookups import Addresses
from egress.upstream.resolved_endpoint import ResolvedEndpoint
from egress.upstream.resolver import Resolver


class _Lookups:
    """Lookups that a test completes."""

    stoppable = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Addresses]]] = []

    def __call__(self, host: str) -> Deferred[Addresses]:
        done: Deferred[Addresses] = Deferred()
        self.asked.append((host, done))
        return done


def addresses(*texts: str) -> Addresses:
    """Parse addresses."""
    return tuple(cast(Any, parse_ip(text)) for text in texts)


class EndpointTests(SynchronousTestCase):
    """The endpoint resolves, and connects to the first address that accepts."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.lookups = _Lookups()
        reactor = cast(IEgressReactor, self.reactor)
        self.resolver = Resolver(reactor, self.lookups, Limits())
        self.origin = MemoryOrigin()
        self.reactor.listen("192.0.2.2", 443, self.origin.accept)
        self.endpoint = self.make("hooks.test")

    def make(self, host: str) -> ResolvedEndpoint:
        """Make an endpoint."""
        return ResolvedEndpoint(cast(IEgressReactor, self.reactor), self.resolver, Authority(host, 443), 10.0)

    def test_interface(self) -> None:
        verifyObject(IStreamClientEndpoint, self.endpoint)

    def test_connected(self) -> None:
        """The first address refuses the connection, and the second one accepts it."""
        connecting = self.endpoint.connect(Factory.forProtocol(Protocol))
        ((host, done),) = self.lookups.asked
        self.assertEqual(host, "hooks.test")
        done.callback(addresses("192.0.2.1", "192.0.2.2"))
        self.reactor.pass_time(1.0)
        protocol = cast(Protocol, self.successResultOf(connecting))
        self.assertIsNotNone(protocol.transport)
        self.assertEqual(self.origin.connections, 1)

    def test_an_address(self) -> None:
        connecting = self.make("192.0.2.2").connect(Factory.forProtocol(Protocol))
        self.reactor.settle()
        self.successResultOf(connecting)
        self.assertEqual(self.lookups.asked, [])

    def test_refused(self) -> None:
        connecting = self.make("192.0.2.1").connect(Factory.forProtocol(Protocol))
        self.reactor.settle()
        self.failureResultOf(connecting, ConnectRefused)

    def test_not_resolved(self) -> None:
        connecting = self.endpoint.connect(Factory.forProtocol(Protocol))
        self.lookups.asked[0][1].callback(())
        self.failureResultOf(connecting, NameNotResolved)

    def test_cancelled(self) -> None:
        connecting = self.endpoint.connect(Factory.forProtocol(Protocol))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.reactor.pass_time(1.0)
        self.assertEqual(self.origin.connections, 0)

    def test_no_protocol(self) -> None:
        factory: Any = Factory()
        factory.buildProtocol = lambda address: None
        self.failureResultOf(self.endpoint.connect(factory), ConnectError)
