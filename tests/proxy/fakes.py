"""In-memory collaborators of a proxy: transports, an authorizer and a dialer that a test controls."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from itertools import count
from typing import Any, TypeVar

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.config.model import Limits, OversizeBody, Resolve
from egress.interfaces import IAuthorizer, IDialer, ILeafSource
from egress.model.authority import Authority, Origin
from egress.model.client_tls import LeafKey
from egress.model.decision import Decision, DecisionRequest, Obligations, Verdict
from egress.model.no_proxy import HostPattern
from egress.model.phases import CONNECT, Mark, durations
from egress.model.record import ExchangeRecord
from egress.model.recorded_headers import AuditHeaders
from egress.model.route import Purpose, Route
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.context import AuthzContext, OriginContext, ProxyContext, TunnelContext, head_limits
from egress.proxy.factory import ProxyFactory
from egress.proxy.tls_intercept import TlsIntercept
from egress.relay.buffered import BufferedFlows
from egress.testing.transport import MemoryTransport
from egress.tracing.tracer import Tracer
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import RoundRobin
from egress.upstream.origin_connection import OriginConnection
from egress.upstream.origins import Origins
from egress.upstream.pool import OriginPool
from tests.upstream.h2_server import Http2Wire

T = TypeVar("T")

# One end of a connection, as the tests of the proxy call it.
Wire = MemoryTransport

WALL = 1_700_000_000.0
LOCAL = ip_address("192.0.2.1")


def allow(reason: str = "ok") -> Decision:
    """A decision that allows the request."""
    return Decision(Verdict.ALLOW, reason, "script", "rule-1")


def allow_with(**obligations: Any) -> Decision:
    """A decision that allows the request, with obligations."""
    return attrs.evolve(allow(), obligations=Obligations(**obligations))


def broken(*_: object) -> None:
    """Raise an unexpected error, as a defect does."""
    raise RuntimeError("oops")


def deny(reason: str = "not today") -> Decision:
    """A decision that denies the request."""
    return Decision(Verdict.DENY, reason, "script", "rule-2")


@implementer(IAuthorizer)
class ScriptedAuthorizer:
    """An authorizer whose decisions a test sets; by default it allows each request.

    @ivar answers: one result for each authorization request: a decision, an exception to fail with, a Deferred, or a
        function to call.
    @ivar asked: the authorization requests.
    @ivar cancelled: the number of Deferreds from L{pending} that were cancelled.
    """

    name = "script"

    def __init__(self) -> None:
        self.needs_body = True
        self.answers: list[Any] = []
        self.asked: list[DecisionRequest] = []
        self.cancelled = 0

    def pending(self) -> Deferred[Decision]:
        """Delay the next decision."""

        def cancel(_: object) -> None:
            self.cancelled += 1

        deferred: Deferred[Decision] = Deferred(cancel)
        self.answers.append(deferred)
        return deferred

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{IAuthorizer.decide}."""
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else allow()
        if callable(answer):
            answer = answer()
        if isinstance(answer, Deferred):
            return answer
        if isinstance(answer, Exception):
            deferred: Deferred[Decision] = Deferred()
            deferred.errback(answer)
            return deferred
        return succeed(answer)

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return succeed(None)


@implementer(IDialer)
class FakeDialer:
    """A dialer in memory.

    @ivar judgements: results for L{judge}: an exception, a route or C{None}; by default C{None}, unless the host is an
        address.
    @ivar checks: results for L{check}: an exception, or a Deferred; by default a route.
    @ivar dials: results for L{dial}: an exception, or a Deferred; by default it connects.
    @ivar origins: the origins' transports that were connected.
    @ivar dialled: the routes that were dialled.
    @ivar protocols: the protocols of the dialled connections.
    @ivar http2: whether the origins choose HTTP/2, if it is offered.
    @ivar streams: the limit of concurrent streams of such origins; C{None} if they have none.
    @ivar offers: whether HTTP/2 was offered, for each dialled route.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.checked: list[tuple[Origin, Purpose]] = []
        self.checked_for: list[str] = []
        self.checks: list[Any] = []
        self.judgements: list[Any] = []
        self.dials: list[Any] = []
        self.dialled: list[Route] = []
        self.protocols: list[DialedProtocol] = []
        self.http2 = False
        self.streams: int | None = None
        self.offers: list[bool] = []
        self.origins: list[Wire] = []
        self.cancelled = 0
        self.high_water: int | None = None

    def pending(self, where: list[Any]) -> Deferred[Any]:
        """Delay the next result."""

        def cancel(_: object) -> None:
            self.cancelled += 1

        deferred: Deferred[Any] = Deferred(cancel)
        where.append(deferred)
        return deferred

    def route(self, origin: Origin, purpose: Purpose) -> Route:
        """The route that L{check} finds."""
        assert LOCAL is not None
        return Route(origin, (LOCAL,), None, origin.scheme == "https" and purpose is not Purpose.TUNNEL, False)

    @property
    def looked_up(self) -> list[str]:
        """The resolved hosts."""
        return [origin.authority.host for origin, _ in self.checked]

    def judge(self, origin: Origin, purpose: Purpose) -> Route | None:
        """See L{IDialer.judge}."""
        literal = origin.authority.ip
        tls = origin.scheme == "https" and purpose is not Purpose.TUNNEL
        result = None if literal is None else Route(origin, (literal,), None, tls, False)
        if self.judgements:
            result = self.judgements.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def check(self, origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        """See L{IDialer.check}."""
        self.checked.append((origin, purpose))
        self.checked_for.append(client)
        result = self.checks.pop(0) if self.checks else self.route(origin, purpose)
        return _as_deferred(result)

    def dial(
        self, route: Route, protocol: DialedProtocol, phases: list[Mark] | None = None, http2: bool = False
    ) -> Deferred[None]:
        """See L{IDialer.dial}."""
        if phases is not None:
            phases.append((CONNECT, self._clock.seconds()))
        self.dialled.append(route)
        self.protocols.append(protocol)
        self.offers.append(http2)
        result = self.dials.pop(0) if self.dials else None
        if result is not None:
            return _as_deferred(result)
        done: Deferred[None] = Deferred()
        protocol.prepare(False, lambda: done.callback(None), done.errback)
        self.connect(protocol, http2=self.http2 and (http2 or not route.tls))
        return done

    def connect(self, protocol: DialedProtocol, *, http2: bool = False) -> Wire:
        """Connect a protocol to its transport."""
        wire = Http2Wire(self._clock, streams=self.streams) if http2 else Wire(self._clock)
        wire.high_water = self.high_water
        self.origins.append(wire)
        return wire.connect(protocol)


def _as_deferred(result: Any) -> Deferred[Any]:
    if isinstance(result, Deferred):
        return result
    deferred: Deferred[Any] = Deferred()
    if isinstance(result, Exception):
        deferred.errback(result)
    else:
        deferred.callback(result)
    return deferred


@implementer(ILeafSource)
class NoLeaves:
    """A certificate source that must not be called."""

    def refusal(self, authority: Authority) -> str | None:
        """See L{ILeafSource.refusal}."""
        return None

    def prepared(self, key: LeafKey) -> Deferred[Any]:
        """See L{ILeafSource.prepared}."""
        raise AssertionError("no TLS here")

    def context_for(self, authority: Authority, key: LeafKey = LeafKey.P256) -> SSL.Context:
        """See L{ILeafSource.context_for}."""
        raise AssertionError("no TLS here")


class Proxy:
    """The in-memory context of a proxy.

    @ivar records: the reported records.
    @ivar leaves: the source of certificates.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        leaves: Any = None,
        http2: bool = True,
        passthrough: tuple[str, ...] = (),
        opaque_ports: tuple[range, ...] = (),
        oversize_body: OversizeBody = OversizeBody.REFUSE,
        clock: Any = None,
        dialer: Any = None,
        resolve: Resolve = Resolve.AFTER,
        headers: AuditHeaders = AuditHeaders.NONE,
        tracer: Tracer | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.limits = limits or Limits()
        self.authorizer = ScriptedAuthorizer()
        self.dialer = dialer or FakeDialer(self.clock)
        self.records: list[ExchangeRecord] = []
        self.pool = OriginPool(self.clock, self.limits)
        numbers = count(1)
        self.leaves: Any = NoLeaves() if leaves is None else leaves
        turns = RoundRobin(self.clock)
        self.parts = ProxyContext(
            clock=self.clock,
            limits=self.limits,
            turns=turns,
            authz=AuthzContext(
                self.clock,
                self.authorizer,
                self.records.append,
                headers=headers,
                tracer=tracer,
                wall_clock=lambda: WALL,
                new_id=lambda: f"id-{next(numbers)}",
            ),
            origins=OriginContext(
                dialer=self.dialer,
                pool=self.pool,
                streams=Origins(
                    self.dialer,
                    head_limits(self.limits),
                    self.clock,
                    turns,
                    pool=self.pool,
                    patience=self.limits.connect_timeout,
                ),
                resolve=resolve,
            ),
            tunnels=TunnelContext(
                interception=TlsIntercept(self.leaves, turns),
                passthrough=tuple(HostPattern.parse(text, suffix=False) for text in passthrough),
                opaque_ports=opaque_ports,
                http2=http2,
            ),
            oversize_body=oversize_body,
            flows=BufferedFlows(),
        )
        self.factory = ProxyFactory(self.parts)

    def client(self, address: str = "198.51.100.7", auth_policy: ClientAuthPolicy = ANONYMOUS) -> Wire:
        """Connect a client."""
        peer = IPv4Address("TCP", address, 40000)
        factory = self.factory if auth_policy is ANONYMOUS else ProxyFactory(self.parts, auth_policy)
        return Wire(self.clock, peer).connect(factory.buildProtocol(peer))


class ProxyTestCase(SynchronousTestCase):
    """A proxy in memory; at the end of a test, no connection or timer may be left.

    @ivar client: a connected client.
    """

    def setUp(self) -> None:
        self.build()

    def build(self, **options: Any) -> None:
        """Create a proxy with other settings."""
        self.proxy = Proxy(**options)
        self.clock = self.proxy.clock
        self.authorizer = self.proxy.authorizer
        self.dialer = self.proxy.dialer
        self.records = self.proxy.records
        self.clients: list[Wire] = []
        self.client = self.connect()

    def connect(self, address: str = "198.51.100.7") -> Wire:
        """Connect another client."""
        wire = self.proxy.client(address)
        self.clients.append(wire)
        return wire

    @property
    def origin(self) -> Wire:
        """The origin that was connected last."""
        wire = self.dialer.origins[-1]
        assert isinstance(wire, Wire)
        return wire

    def record_instances(self, module: object, cls: type[T]) -> list[T]:
        """Record the objects that a module makes of a class.

        @return: the objects, also those that are made later.
        """
        instances: list[T] = []

        def make(*arguments: Any) -> T:
            instances.append(cls(*arguments))
            return instances[-1]

        self.patch(module, cls.__name__, make)
        return instances

    def allow_with(self, **obligations: Any) -> None:
        """Allow the next request, with obligations."""
        self.authorizer.answers.append(allow_with(**obligations))

    def use_once(self) -> None:
        """Put a connection into the pool."""
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()

    def assert_backpressure(self, receiver: Wire, sender: Wire) -> None:
        """A side that reads slowly pauses the reading from the other side."""
        receiver.choke()
        self.assertTrue(sender.paused)
        receiver.unchoke()
        self.assertFalse(sender.paused)

    def phases(self) -> list[tuple[str, float]]:
        """The phases of the last record, with their seconds."""
        return durations(self.records[-1].phases, self.records[-1].duration)

    def outcomes(self) -> list[str]:
        """The recorded outcomes."""
        return [record.outcome for record in self.records]

    def tearDown(self) -> None:
        """Disconnect all clients, and check that nothing is left."""
        for wire in self.clients:
            wire.lose()
        self.proxy.pool.close()
        self.clock.advance(0)
        self.clock.advance(0)
        calls: list[Any] = list(self.clock.getDelayedCalls())
        self.assertEqual([call.func for call in calls], [], "timers are still active")
        self.assertEqual(len(self.proxy.parts.sessions), 0)
        for wire in self.dialer.origins:
            self.assertTrue(wire.disconnected, "an origin connection is still open")
        self.assertEqual(len(self.proxy.pool), 0)


def session_of(wire: Wire) -> HttpSession:
    """The session of a client's transport."""
    session = wire.protocol
    assert isinstance(session, HttpSession)
    return session


def connection_of(wire: Wire) -> OriginConnection:
    """The connection of an origin's transport."""
    connection = wire.protocol
    assert isinstance(connection, OriginConnection)
    return connection


Builder = Callable[..., bytes]


def request(
    method: str = "GET",
    url: str = "http://origin.test/a",
    *fields: str,
    body: bytes = b"",
    version: str = "1.1",
    host: str = "origin.test",
) -> bytes:
    """A request as a client of the proxy sends it."""
    lines = [f"{method} {url} HTTP/{version}", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(body: bytes = b"hello", *fields: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A response as an origin sends it."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def status_of(data: bytes) -> int:
    """The status code of a response."""
    return int(data.split(b" ", 2)[1])


def content_of(data: bytes) -> bytes:
    """The content after the head."""
    return data.partition(b"\r\n\r\n")[2]


# Key and accept value are from RFC 6455 section 1.3.
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Key: y\r\n\r\n"
)
