"""Runs a case in memory: the sessions, dialer, guard and TLS of the proxy, without a socket."""

from __future__ import annotations

import functools
import tempfile
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from egress.client_auth.authenticator import ClientAuthenticator
from egress.config.model import Limits
from egress.http.request_target import CLEAR_TEXT
from egress.interfaces import IAuthorizer
from egress.model.authority import DEFAULT_PORTS
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.record import ExchangeRecord
from egress.proxy.client_auth import ClientAuthPolicy
from egress.proxy.context import ProxyContext
from egress.proxy.factory import ProxyFactory
from egress.proxy.proxy_protocol import ProxyProtocolFactory
from egress.proxy.socks_session import SocksFactory
from egress.tls.origin_trust import OriginTrust
from egress.upstream.address_guard import AddressGuard
from egress.upstream.connector import Dialer
from tests.proxy.fakes import Proxy, Wire
from tests.scorecard.cases import Case, Listener
from tests.scorecard.http2_wire import ACKNOWLEDGED, OPENING
from tests.scorecard.judge import Arrival, Question, Seen, seen_by
from tests.scorecard.socks_wire import Conversation
from tests.scorecard.surroundings import Ports, Script, allows, authority, certificate, client_line
from tests.threads import immediately
from tests.transport.reactors import Attempt, DialingReactor
from tests.transport.tls import TlsClient, TlsServer, leaves

PORTS = Ports(8080, 8443, 8081, 8444)
# A listener on loopback, as in the default configuration.
_LOOPBACK = ClientAuthPolicy(schemes=DEFAULT_PORTS)
# The address of each client, as over TCP, and that of a load balancer which is not a client.
_ADDRESS, _BALANCER = "127.0.0.1", "192.0.2.1"
# Longer than every timeout of an idle connection.
_FOR_EVER = 4000


@functools.cache
def _trust() -> OriginTrust:
    with tempfile.TemporaryDirectory() as directory:
        return OriginTrust(authority().write(Path(directory)))


@functools.cache
def _leaves() -> Any:
    return leaves()


@functools.cache
def _secrets() -> str:
    return client_line()


def _factory(listener: Listener, context: ProxyContext, directory: Path) -> Any:
    """Create the factory of a listener.

    @param directory: an empty directory.
    """
    if listener in (Listener.HTTP, Listener.HTTP2):
        return ProxyFactory(context, _LOOPBACK, h2c=listener is Listener.HTTP2)
    policy = attrs.evolve(_LOOPBACK, allow_unverified_names=False)
    if listener is Listener.SOCKS:
        return SocksFactory(context, policy)
    if listener is Listener.SOCKS_LOGIN:
        file = directory / "clients"
        file.touch(0o600)
        file.write_text(_secrets(), encoding="utf-8")
        authenticator = ClientAuthenticator(file, context.clock, immediately)
        return SocksFactory(context, attrs.evolve(policy, authenticator=authenticator))
    balancers = (ip_network(_BALANCER),) if listener is Listener.STRANGER else ()
    policy = attrs.evolve(policy, schemes=CLEAR_TEXT)
    return ProxyProtocolFactory(context, ProxyFactory(context, policy), balancers)


class _Reactor(DialingReactor):
    """Every host exists, and accepts connections in the next turn."""

    def __init__(self) -> None:
        super().__init__()
        self.names = {"localhost": ["127.0.0.1"]}
        self.accepted: list[tuple[int, Wire]] = []

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0) -> None:
        self.names.setdefault(hostName, [])
        super().resolveHostName(receiver, hostName, portNumber)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Attempt:
        attempt = super().connectTCP(host, port, factory, timeout, bindAddress)
        self.callLater(0, self._accept, attempt)
        return attempt

    def _accept(self, attempt: Attempt) -> None:
        if not attempt.given_up:
            self.accepted.append((attempt.port, attempt.accept()))


@implementer(IAuthorizer)
class _Authorizer:  # type: ignore[misc]
    """Denies one word, and records the authorization requests."""

    name = "scorecard"
    needs_body = True

    def __init__(self) -> None:
        self.questions: list[Question] = []

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{IAuthorizer.decide}."""
        allowed = allows(request.url, lambda: request)
        client = request.client.address
        self.questions.append(Question(request.method, request.url, request.body or b"", allowed, client))
        return succeed(Decision(Verdict.ALLOW if allowed else Verdict.DENY, "a word", self.name))


class _Origin:
    """One connection to an origin."""

    def __init__(self, port: int, wire: Wire, case: Case, script: Script) -> None:
        self.port = port
        self.tls = port in (PORTS.secure, PORTS.other_secure)
        self.data = b""
        self._wire = wire
        self._end: Any = TlsServer(wire, certificate(case.certificate)) if self.tls else wire
        self._shaken = not self.tls
        self._switches = case.answer.startswith(b"HTTP/1.1 101")
        self._script = script
        self._given = 0

    def go_on(self) -> bool:
        """Read the received bytes, and respond to complete requests.

        @return: whether anything happened.
        """
        if not self._shaken:
            self._shaken = True
            try:
                self._end.shake()
            except (SSL.Error, AssertionError):
                self._end = Wire(Clock())
                return True
        data = self._end.take()
        self.data += data
        answers = self._script.due(self.data, self._given)
        self._given += len(answers)
        for answer in answers:
            self._end.feed(answer)
            if self._script.ends(answer):
                self._wire.end()
        return bool(data or answers)

    @property
    def arrival(self) -> Arrival:
        """The observation for the judge."""
        return Arrival(self.port, self.tls, self.data, self._switches)


class _Play:
    """One case."""

    def __init__(self, case: Case) -> None:
        self.case = case = PORTS.of(case)
        self.reactor = _Reactor()
        open_ranges = () if case.guarded else (ip_network("127.0.0.0/8"),)
        guard = AddressGuard(open_ranges, is_local=lambda _: False)
        dialer = Dialer(self.reactor, Limits(), guard, _trust().connection_creator)  # type: ignore[arg-type]
        self.proxy = Proxy(clock=self.reactor, dialer=dialer, leaves=_leaves())
        self.authorizer = self.proxy.parts.authz.authorizer = _Authorizer()
        with tempfile.TemporaryDirectory() as directory:
            self.factory = _factory(case.listener, self.proxy.parts, Path(directory))
        self.client = self.connect()
        self.others: list[Wire] = []
        self.origins: list[_Origin] = []
        self.script = Script(case)
        self.received = b""

    def settle(self, take: Any) -> None:
        """Let all parties process their pending work."""
        moved = True
        while moved:
            self.reactor.advance(0)
            for port, wire in self.reactor.accepted[len(self.origins) :]:
                self.origins.append(_Origin(port, wire, self.case, self.script))
            moved = sum(origin.go_on() for origin in self.origins) > 0
            data = take()
            self.received += data
            # The input of a client can take several turns.
            moved = moved or bool(data) or self._is_busy()

    def _is_busy(self) -> bool:
        return any(call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls())

    def _negotiate(self) -> bool:
        for message in self.case.socks:
            if not self.client.disconnected:
                self.client.feed(message)
                self.settle(self.client.take)
        conversation = Conversation(self.received)
        return conversation.over and not conversation.refusal

    def _inside(self) -> Any:
        """Begin TLS and HTTP/2 in a tunnel, if the case does.

        @return: the end of the client.
        """
        end: Any = self.client
        if self.case.server_name is not None:
            protocols = [b"h2"] if self.case.http2 else []
            end = TlsClient(self.client, self.case.server_name, protocols=protocols).shake()
        if self.case.http2:
            end.feed(OPENING + ACKNOWLEDGED)
        return end

    def run(self) -> Seen:
        end: Any = self.client
        rejected = False
        if self.case.socks:
            rejected = not self._negotiate()
        elif self.case.tunnel is not None:
            head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (self.case.tunnel, self.case.tunnel)
            self.client.feed(head + self.case.early)
            self.settle(self.client.take)
            _, found, self.received = self.received.partition(b"200 Connection established\r\n\r\n")
            assert found
        if not rejected:
            end = self._inside()
        for number, part in enumerate(self.case.sent):
            if rejected or self.client.disconnecting or self.client.disconnected:
                break
            if number and self.case.apart:
                end = self.again()
            end.feed(part)
            self.settle(end.take)
        if end is not self.client:
            with suppress(SSL.Error):
                end.close()
        elif not self.client.disconnected:
            self.client.end()
        self.settle(self.client.take if end is self.client else end.take)
        self.reactor.advance(0)
        closed = self.client.disconnected or self.client.disconnecting
        self.let_go()
        arrivals = tuple(origin.arrival for origin in self.origins if origin.data)
        return seen_by(self.case, self.received, closed, arrivals, tuple(self.authorizer.questions))

    def again(self) -> Wire:
        """Connect another client of the same address, and keep the earlier ones connected."""
        self.others.append(self.client)
        self.client = self.connect()
        return self.client

    def connect(self) -> Wire:
        """Connect a client to the listener of the case.  A listener that rejects it closes the connection."""
        peer = IPv4Address("TCP", _ADDRESS, 40000)
        protocol = self.factory.buildProtocol(peer)
        wire = Wire(self.reactor, peer)
        if protocol is None:
            wire.disconnected = True
            return wire
        return wire.connect(protocol)

    def let_go(self) -> None:
        """Close all connections and timers."""
        for client in (*self.others, self.client):
            client.lose()
        self.proxy.pool.close()
        for wire in self.reactor.wires:
            wire.lose()
        self.reactor.advance(_FOR_EVER)


def play(case: Case) -> tuple[Seen, list[ExchangeRecord]]:
    """Run a case.

    @return: the observations, and the audit records.
    """
    one = _Play(case)
    return one.run(), one.proxy.records
