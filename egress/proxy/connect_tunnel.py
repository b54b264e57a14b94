"""What happens inside a CONNECT: TLS is intercepted, plain HTTP parsed, a passthrough host tunnelled, the rest refused.

A CONNECT is answered with 200 before anything is known of the destination, and every refusal is given inside, by a
session that the client can read: a client shows its user nothing of a refused CONNECT but the status code.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.error_response import encode_error_response
from egress.http.sniff import TunnelProtocol, detect_protocol
from egress.model.authority import Authority, Origin
from egress.model.client_tls import LeafKey
from egress.model.decision import ClientIdentity, Decision, Stage, Verdict
from egress.model.errors import (
    CertificateNotPermitted,
    ClientGone,
    ClientLeft,
    ClientTlsFailed,
    Denied,
    EgressError,
    InternalFault,
    TunnelNotUnderstood,
    outcome_of,
)
from egress.model.route import Purpose, Route
from egress.proxy.client_session import HttpSession
from egress.proxy.client_tls import Handshake, handshake_fault, hello_of, left_unused
from egress.proxy.destination import Destination
from egress.proxy.transaction import Transaction
from egress.proxy.tunnel_binding import TunnelBinding
from egress.relay.relay import Relay
from egress.transport.tcp import SharedTransport, describe_peer
from egress.transport.tls import ServerTls, TlsFactory

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

_log = Logger()

# The head of a 200 to a CONNECT has no Content-Length (RFC 9110 section 9.3.6); clients accept exactly 200.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class TunnelState(enum.Enum):
    """Where a tunnel stands."""

    DECIDING = "a passthrough host: with the guard, the authorizer, the dialer"
    SNIFFING = "waiting for the client's first bytes"
    HANDSHAKE = "TLS handshake with the client"
    SESSION = "an HTTP session"
    RELAY = "bytes that are not read"
    DONE = "over"


_NEXT: dict[TunnelState, frozenset[TunnelState]] = {
    TunnelState.DECIDING: frozenset({TunnelState.SNIFFING, TunnelState.RELAY, TunnelState.DONE}),
    TunnelState.SNIFFING: frozenset({TunnelState.HANDSHAKE, TunnelState.SESSION, TunnelState.DONE}),
    TunnelState.HANDSHAKE: frozenset({TunnelState.SESSION, TunnelState.DONE}),
    TunnelState.SESSION: frozenset({TunnelState.DONE}),
    TunnelState.RELAY: frozenset({TunnelState.DONE}),
    TunnelState.DONE: frozenset(),
}


@implementer(IPushProducer, IHalfCloseableProtocol)
class Tunnel(Protocol):
    """The inside of one CONNECT.

    It gets what the outer session's transport reads, and hands it to whatever the tunnel turned out to carry.

    @raise CertificateNotPermitted: when it would be intercepted, and the CA may not sign for the host.  A client can
        read that only before the tunnel is there.
    """

    def __init__(self, parts: ProxyContext, outer: HttpSession, authority: Authority, client: ClientIdentity) -> None:
        self._no_certificate = parts.host_contexts.refusal(authority)
        if self._no_certificate is not None and not parts.is_passthrough(authority):
            raise CertificateNotPermitted(self._no_certificate)
        self._parts = parts
        self._outer = outer
        self._authority = authority
        self._client = client
        self._transaction = Transaction(
            parts, client, Stage.TUNNEL, "CONNECT", Origin("https", authority), "", self._refuse
        )
        self._state = TunnelState.DECIDING
        self._early = b""
        self._protocols: tuple[bytes, ...] = ()
        self._refusal: EgressError | None = None
        self._above: Protocol | None = None
        self._session: HttpSession | None = None
        self._relay: Relay | None = None

    def _enter(self, state: TunnelState) -> None:
        if state not in _NEXT[self._state]:
            raise AssertionError(f"{self._state.name} does not lead to {state.name}")
        self._state = state

    def begin(self, early: bytes) -> None:
        """Take over the client's connection.

        @param early: what the client sent behind the CONNECT already.
        """
        self.makeConnection(self._outer.transport)  # type: ignore[no-untyped-call]
        self._outer.watch(None)
        self._early = early
        if self._parts.is_passthrough(self._authority):
            self._outer.pause_reading()
            self._judge()
        else:
            self._sniff()

    # -- passthrough

    def _judge(self) -> None:
        destination = Destination(self._parts, self._client, Origin("https", self._authority), Purpose.TUNNEL)
        try:
            goes_first = destination.begin()
        except EgressError as error:
            self._refuse(error)
            return
        if goes_first:
            self._transaction.await_or_fail(destination.look_up_first(), lambda _: self._ask(destination))
        else:
            self._ask(destination)

    def _ask(self, destination: Destination) -> None:
        self._transaction.ask(
            ((b"Host", str(self._authority).encode("ascii")),),
            None,
            False,
            lambda decision: self._decided(decision, destination),
            addresses=destination.addresses,
            addresses_withheld=destination.withheld,
        )

    def _decided(self, decision: Decision, destination: Destination) -> None:
        if decision.verdict is Verdict.NEED_ADDRESSES:
            looked_up = destination.look_up().addCallback(destination.tell)
            self._transaction.await_or_fail(looked_up, lambda _: self._ask(destination))
        elif not decision.allowed:
            self._refuse(Denied(decision))
        elif destination.route is None:
            # Only now: a name that is denied causes no DNS query.
            self._transaction.await_or_fail(destination.look_up(), self._dial)
        else:
            self._dial(destination.route)

    def _dial(self, route: Route) -> None:
        lease = self._transaction.lease
        if lease is not None:
            lease.leads_to = route.known_addresses
        relay = Relay(self, self.transport, self._parts.flows, lease)  # type: ignore[arg-type]
        self._transaction.await_or_fail(
            self._parts.dialer.dial(route, relay.origin), lambda _: self._relaying(relay, route)
        )

    def _relaying(self, relay: Relay, route: Route) -> None:
        self._enter(TunnelState.RELAY)
        self._transaction.hop = describe_peer(route, relay.origin.transport)
        self._relay = relay
        self.transport.write(ESTABLISHED)  # type: ignore[union-attr]
        early, self._early = self._early, b""
        relay.begin(early)
        self.relay_active()
        self._outer.resume_reading()

    def relay_active(self) -> None:
        """See L{egress.relay.relay.Owner}."""
        self._outer.watch(self._parts.limits.tunnel_timeout)

    def relay_over(self, *, broken: bool) -> None:
        """See L{egress.relay.relay.Owner}."""
        self._end(None)
        if broken:
            self._outer.abort()
        else:
            self._outer.close()

    def _refuse(self, error: EgressError) -> None:
        """Refuse a passthrough tunnel: intercept it after all, to answer what the client asks inside."""
        if self._state is not TunnelState.DECIDING:
            # The permission is over, or a defect on the way out of deciding: there is nobody left to answer.
            self._end(error)
            if self._relay is not None:
                # In this turn, so that nothing more flows.
                self._relay.drop()
            self._outer.abort()
            return
        self._refusal = error
        status = outcome_of(error).status
        self._transaction.report(error, status.value if status is not None else None, 0, 0)
        if self._no_certificate is None and not self._parts.is_opaque_port(self._authority):
            self._sniff()
        else:
            self._refuse_outside(error)

    def _refuse_outside(self, error: EgressError) -> None:
        """Answer the CONNECT itself, where the client speaks something else inside, or there can be no certificate."""
        answer_id, date = self._transaction.request_id, self._parts.date()
        self._end(None)
        self._outer.write(
            encode_error_response(error, answer_id, accept=None, head_only=False, keep_alive=False, date=date)
        )
        self._outer.close()

    # -- what the client speaks

    def _sniff(self) -> None:
        self._enter(TunnelState.SNIFFING)
        self.transport.write(ESTABLISHED)  # type: ignore[union-attr]
        self._outer.watch(self._parts.limits.tls_timeout)
        self._outer.resume_reading()
        if self._early:
            self._recognize()

    def _recognize(self) -> None:
        inner = detect_protocol(self._early)
        if inner is TunnelProtocol.TLS:
            self._hello_came()
        elif inner is TunnelProtocol.HTTP:
            self._enter(TunnelState.SESSION)
            self._outer.watch(None)
            session = self._session = self._new_session("http")
            self._above = session
            session.makeConnection(SharedTransport(self.transport))  # type: ignore[no-untyped-call]
            self._hand_over()
        elif inner is TunnelProtocol.UNKNOWN:
            self._end(TunnelNotUnderstood("what came inside the CONNECT is neither TLS nor HTTP"))
            self._outer.abort()

    def _new_session(self, scheme: str) -> HttpSession:
        binding = TunnelBinding(
            Origin(scheme, self._authority), self._client, self._refusal, self._transaction.request_id
        )
        return HttpSession(self._parts, binding)

    @property
    def _hello_began(self) -> bool:
        return self._state is TunnelState.SNIFFING and detect_protocol(self._early) is TunnelProtocol.TLS

    def _hello_came(self) -> None:
        hello = hello_of(self._early)
        if hello is None:
            return
        self._enter(TunnelState.HANDSHAKE)
        self._protocols = hello.protocols
        key = hello.key
        if key is LeafKey.P256:
            self._begin_tls(key)
            return
        self._outer.pause_reading()
        self._transaction.await_or_fail(self._parts.host_contexts.prepared(key), lambda _: self._begin_tls(key))

    def _begin_tls(self, key: LeafKey) -> None:
        self._session = self._new_session("https")
        handshake = Handshake(self, self._session)
        try:
            context = self._parts.host_contexts.context_for(self._authority, key)
        except Exception:  # noqa: BLE001
            # Most likely an expired CA.  Without a certificate there is no session to say so in.
            _log.failure("no certificate for {authority}", authority=self._authority)
            self._end(InternalFault("the proxy has no certificate for this host; the operator's log has the details"))
            self._outer.abort()
            return
        self._outer.resume_reading()
        made = Factory.forProtocol(lambda: handshake)
        factory = TlsFactory(ServerTls(context), False, made, self._parts.clock, self._parts.turns)
        tls = factory.buildProtocol(None)
        assert tls is not None
        self._above = tls
        # The TLS layer registers producers on the transport itself.
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        tls.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self._hand_over()

    def _hand_over(self) -> None:
        early, self._early = self._early, b""
        if self._above is not None:
            self._above.dataReceived(early)

    def handshake_over(self) -> None:
        """The client finished the TLS handshake."""
        self._enter(TunnelState.SESSION)
        self._outer.watch(None)

    def handshake_failed(self, reason: Failure) -> None:
        """The client broke off the TLS handshake: most often it does not trust the CA, or pins a certificate."""
        if self._state is TunnelState.HANDSHAKE:
            self._end(handshake_fault(reason.value, self._authority, self._protocols))

    # -- the transport

    def dataReceived(self, data: bytes) -> None:
        """Hand on what the client sent."""
        if self._above is not None:
            self._above.dataReceived(data)
        elif self._relay is not None:
            self._relay.client_data(data)
        else:
            self._early += data
            if self._state is TunnelState.SNIFFING:
                self._recognize()
            else:
                self._outer.pause_reading()

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._relay is not None:
            self._relay.client_end()
        elif self._state is TunnelState.SESSION and self._above is self._session and self._session is not None:
            self._session.readConnectionLost()
        else:
            self._outer.close()

    def writeConnectionLost(self) -> None:
        """What was written is sent, and that it was all: a session without TLS that ends waits for it."""
        if self._state is TunnelState.SESSION and self._above is self._session and self._session is not None:
            self._session.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        above, self._above = self._above, None
        session = self._session
        if above is not None:
            above.connectionLost(reason)
        if self._relay is not None:
            self._relay.drop()
            self._end(None)
        elif self._state is TunnelState.DECIDING:
            self._end(ClientGone("the client went away before anything was asked for in the tunnel"))
        elif self._state is TunnelState.HANDSHAKE or self._hello_began:
            self._end(handshake_fault(reason.value, self._authority, self._protocols))
        elif session is not None and isinstance(session.unused, Failure):
            ended, tls = session.unused.value, above is not session
            self._end(left_unused(ended, self._authority, self._protocols, tls=tls))
        elif self._state is TunnelState.SNIFFING:
            self._end(left_unused(None, self._authority, (), tls=False))

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        if self._relay is not None:
            self._relay.pause_origin()
        elif self._session is not None:
            self._session.pauseProducing()

    def resumeProducing(self) -> None:
        """The client keeps up again."""
        if self._relay is not None:
            self._relay.resume_origin()
        elif self._session is not None:
            self._session.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""

    # -- ways out

    def expired(self) -> None:
        """The outer session's watchdog fired."""
        if self._state is TunnelState.RELAY:
            self._end(None)
            self._outer.abort()
        elif self._state is TunnelState.HANDSHAKE or self._hello_began:
            self._end(ClientTlsFailed("the client did not finish the TLS handshake in time"))
            self._outer.abort()
        else:
            self._end(ClientLeft("the client sent nothing inside the CONNECT in time"))
            self._outer.close()

    def _end(self, error: EgressError | None) -> None:
        """Let go of everything.

        What is left to put on record: a relayed tunnel, and one in which nothing was asked.  A refusal already is.
        """
        if self._state is TunnelState.DONE:
            return
        deciding = self._state is TunnelState.DECIDING
        self._enter(TunnelState.DONE)
        self._outer.watch(None)
        if self._refusal is None:
            relay = self._relay
            sent = received = 0
            if relay is not None:
                relay.stop()
                sent, received = relay.sent, relay.received
            self._transaction.report(error, None if deciding else 200, sent, received)
