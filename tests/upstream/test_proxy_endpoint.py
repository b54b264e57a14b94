"""Tests for L{egress.upstream.proxy_endpoint}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.interfaces import IDialer
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.errors import UpstreamRefused
from egress.model.phases import Mark
from egress.model.route import Purpose, Route
from egress.transport.dialed import DialedProtocol
from egress.upstream.proxy_endpoint import UpstreamEndpoint


class _Echo(Protocol):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def connectionMade(self) -> None:
        self.seen.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.seen.append("lost")


@implementer(IDialer)
class _Dialer:  # type: ignore[misc]
    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.protocols: list[DialedProtocol] = []
        self.result: Deferred[None] = Deferred()

    def check(self, origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        raise NotImplementedError

    def dial(
        self, route: Route, protocol: DialedProtocol, phases: list[Mark] | None = None, http2: bool = False
    ) -> Deferred[None]:
        self.routes.append(route)
        self.protocols.append(protocol)
        return self.result


class UpstreamEndpointTests(SynchronousTestCase):
    """The endpoint requests a tunnel from the upstream proxy, then connects the protocol."""

    def setUp(self) -> None:
        self.dialer = _Dialer()
        self.upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        self.authority = Authority("authz.test", 443)
        self.endpoint = UpstreamEndpoint(self.dialer, self.upstream, self.authority)
        self.echo = _Echo()

    def test_tunnel_without_own_tls(self) -> None:
        connected = self.endpoint.connect(Factory.forProtocol(lambda: self.echo))
        route = self.dialer.routes[0]
        self.assertEqual((route.upstream, route.connect, route.tls), (self.upstream, True, False))
        self.assertEqual(route.origin.authority, self.authority)
        bridge = self.dialer.protocols[0]
        bridge.makeConnection(StringTransport())
        self.assertEqual(self.echo.seen, [])
        self.dialer.result.callback(None)
        self.assertIs(self.successResultOf(connected), self.echo)
        bridge.dataReceived(b"hello")
        bridge.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.echo.seen, ["made", b"hello", "lost"])

    def test_failure_is_reported_to_the_caller_only(self) -> None:
        connected = self.endpoint.connect(Factory.forProtocol(lambda: self.echo))
        bridge = self.dialer.protocols[0]
        bridge.makeConnection(StringTransport())
        self.dialer.result.errback(UpstreamRefused("refused with 407", 407))
        bridge.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(connected, UpstreamRefused)
        self.assertEqual(self.echo.seen, [])

    def test_factory_without_a_protocol(self) -> None:
        factory = Factory()
        factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.failureResultOf(self.endpoint.connect(factory))
        self.assertEqual(self.dialer.routes, [])
