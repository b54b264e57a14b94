"""What happens inside a CONNECT: TLS is intercepted, plain HTTP parsed, a passthrough host tunnelled, the rest refused.

A CONNECT is answered with 200 before anything is known of the destination, and every refusal is given inside, by a
session that the client can read: a client shows its user nothing of a refused CONNECT but the status code.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage
from egress.model.errors import (
    AuthorizerUnavailable,
    ClientGone,
    ClientTlsFailed,
    Denied,
    EgressError,
    InternalFault,
    ServerNameMismatch,
    TunnelNotUnderstood,
    outcome_of,
)
from egress.model.record import ExchangeRecord
from egress.model.route import Purpose, Route
from egress.net.relay import Relay
from egress.net.server import HttpSession, Scope
from egress.net.watchdog import Watchdog
from egress.wire.session import Inner, recognize

if TYPE_CHECKING:
    from egress.net.parts import Parts

_log = Logger()

# The head of a 200 to a CONNECT has no Content-Length (RFC 9110 section 9.3.6); clients accept exactly 200.
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def server_name_error(transport: object, authority: Authority) -> ServerNameMismatch | None:
    """Compare a finished handshake's server name with the authority of the CONNECT.

    @param transport: the TLS transport of the session.
    """
    handle = transport.getHandle() if isinstance(transport, TLSMemoryBIOProtocol) else None  # type: ignore[no-untyped-call]
    name = handle.get_servername() if isinstance(handle, SSL.Connection) else None
    if name is None:
        return None
    text = name.decode("latin-1").lower().removesuffix(".")
    if text == authority.host:
        return None
    return ServerNameMismatch(f"the TLS server name is {text!r}, but the tunnel is for {authority}")


@implementer(IOpenSSLServerConnectionCreator)
class _Server:
    """Begins TLS sessions on one context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._context, None)


class _TlsFactory(TLSMemoryBIOFactory):
    # The session writes whole messages; a second buffer would only add a turn of the reactor.
    protocol = TLSMemoryBIOProtocol


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Stands between the TLS layer and the session until the client has finished the handshake."""

    def __init__(self, tunnel: Tunnel, session: HttpSession) -> None:
        self._tunnel = tunnel
        self._session = session
        self._completed = False

    def handshakeCompleted(self) -> None:
        self._completed = True
        self._tunnel.handshake_over()
        self._session.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self._session.handshakeCompleted()
        # From here on the TLS layer talks to the session itself.
        self.transport.wrappedProtocol = self._session  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._completed:
            self._tunnel.handshake_failed(reason)


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
    """

    def __init__(self, parts: Parts, outer: HttpSession, authority: Authority, client: ClientIdentity) -> None:
        self._parts = parts
        self._outer = outer
        self._authority = authority
        self._client = client
        self._request_id = parts.new_id()
        self._started = parts.wall_clock()
        self._clock_started = parts.clock.seconds()
        self._watchdog = Watchdog(parts.clock, self._expired)
        self._state = TunnelState.DECIDING
        self._early = b""
        self._refusal: EgressError | None = None
        self._above: Protocol | None = None
        self._session: HttpSession | None = None
        self._relay: Relay | None = None
        self._pending: Deferred[object] | None = None
        self._decision: Decision | None = None
        self._asked_at: float | None = None
        self._decision_seconds: float | None = None

    def _enter(self, state: TunnelState) -> None:
        if state not in _NEXT[self._state]:
            raise AssertionError(f"{self._state.name} does not lead to {state.name}")
        self._state = state

    def begin(self, early: bytes) -> None:
        """Take over the client's connection.

        @param early: what the client sent behind the CONNECT already.
        """
        self.makeConnection(self._outer.transport)  # type: ignore[arg-type]
        self._outer.watch(None)
        self._early = early
        if self._parts.passes_through(self._authority):
            self._outer.pause_reading()
            self._wait_for(self._parts.dialer.check(self._origin("https"), Purpose.TUNNEL), self._checked)
        else:
            self._sniff()

    def _origin(self, scheme: str) -> Origin:
        return Origin(scheme, self._authority)

    # -- passthrough

    def _checked(self, route: Route) -> None:
        request = DecisionRequest(
            request_id=self._request_id,
            stage=Stage.TUNNEL,
            method="CONNECT",
            origin=self._origin("https"),
            path="",
            headers=((b"Host", str(self._authority).encode("ascii")),),
            client=self._client,
        )
        self._asked_at = self._parts.clock.seconds()
        self._wait_for(self._parts.authorizer.decide(request), lambda decision: self._decided(decision, route))

    def _decided(self, decision: Decision, route: Route) -> None:
        assert self._asked_at is not None
        self._decision_seconds = self._parts.clock.seconds() - self._asked_at
        self._decision = decision
        if not decision.allowed:
            self._refuse(Denied(decision))
            return
        relay = Relay(self.transport, self._relay_active, self._relay_over)  # type: ignore[arg-type]
        self._wait_for(self._parts.dialer.dial(route, relay.far), lambda _: self._relaying(relay))

    def _relaying(self, relay: Relay) -> None:
        self._enter(TunnelState.RELAY)
        self._relay = relay
        self.transport.write(ESTABLISHED)  # type: ignore[union-attr]
        early, self._early = self._early, b""
        relay.begin(early)
        self._relay_active()
        self._outer.resume_reading()

    def _relay_active(self) -> None:
        self._watchdog.set(self._parts.limits.tunnel_timeout)

    def _relay_over(self) -> None:
        """Both directions are closed, or one broke."""
        self._end(None)
        self._outer.close()

    def _refuse(self, error: EgressError) -> None:
        """Refuse a passthrough tunnel: intercept it after all, to answer what the client asks inside."""
        self._refusal = error
        status = outcome_of(error).status
        self._report(error, status.value if status is not None else None)
        self._sniff()

    # -- what the client speaks

    def _sniff(self) -> None:
        self._enter(TunnelState.SNIFFING)
        self.transport.write(ESTABLISHED)  # type: ignore[union-attr]
        self._watchdog.set(self._parts.limits.tls_timeout)
        self._outer.resume_reading()
        if self._early:
            self._recognize()

    def _recognize(self) -> None:
        inner = recognize(self._early)
        if inner is Inner.TLS:
            self._begin_tls()
        elif inner is Inner.HTTP:
            self._enter(TunnelState.SESSION)
            self._watchdog.stop()
            session = self._session = self._new_session("http")
            self._above = session
            session.makeConnection(_Shared(self.transport))  # type: ignore[no-untyped-call]
            self._hand_over()
        elif inner is Inner.UNKNOWN:
            self._end(TunnelNotUnderstood("what came inside the CONNECT is neither TLS nor HTTP"))
            self._outer.abort()

    def _new_session(self, scheme: str) -> HttpSession:
        scope = Scope(self._origin(scheme), self._client, self._refusal, self._request_id)
        return HttpSession(self._parts, scope)

    def _begin_tls(self) -> None:
        self._enter(TunnelState.HANDSHAKE)
        self._session = self._new_session("https")
        handshake = _Handshake(self, self._session)
        context = self._parts.leaves.context_for(self._authority)
        factory = _TlsFactory(
            _Server(context), False, Factory.forProtocol(lambda: handshake), clock=self._parts.clock
        )
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
        self._watchdog.stop()

    def handshake_failed(self, reason: Failure) -> None:
        """The client broke off the TLS handshake: most often it does not trust the CA, or pins a certificate."""
        if self._state is TunnelState.HANDSHAKE:
            self._end(ClientTlsFailed(f"the client broke off the TLS handshake: {_readable(reason)}"))

    # -- the transport

    def dataReceived(self, data: bytes) -> None:
        """Hand on what the client sent."""
        if self._above is not None:
            self._above.dataReceived(data)
        elif self._relay is not None:
            self._relay.near_data(data)
        else:
            self._early += data
            if self._state is TunnelState.SNIFFING:
                self._recognize()
            else:
                self._outer.pause_reading()

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._relay is not None:
            self._relay.near_end()
        elif self._state is TunnelState.SESSION and self._above is self._session and self._session is not None:
            self._session.readConnectionLost()
        else:
            self._outer.close()

    def writeConnectionLost(self) -> None:
        """Nothing to do: see L{HttpSession.writeConnectionLost}."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        above, self._above = self._above, None
        if above is not None:
            above.connectionLost(reason)
        if self._relay is not None:
            self._relay.drop()
            self._end(None)
        elif self._state in (TunnelState.DECIDING, TunnelState.SNIFFING):
            self._end(ClientGone("the client went away before anything was asked for in the tunnel"))
        self._watchdog.stop()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        if self._relay is not None:
            self._relay.pause_far()
        elif self._session is not None:
            self._session.pauseProducing()

    def resumeProducing(self) -> None:
        """The client keeps up again."""
        if self._relay is not None:
            self._relay.resume_far()
        elif self._session is not None:
            self._session.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""

    # -- ways out

    def _expired(self) -> None:
        if self._state is TunnelState.RELAY:
            self._end(None)
            self._outer.abort()
        elif self._state is TunnelState.HANDSHAKE:
            self._end(ClientTlsFailed("the client did not finish the TLS handshake in time"))
            self._outer.abort()
        else:
            self._end(ClientGone("the client sent nothing inside the CONNECT in time"))
            self._outer.close()

    def _wait_for(self, waiting: Deferred, then: object) -> None:  # type: ignore[type-arg]
        self._pending = waiting
        waiting.addCallbacks(self._arrived, self._failed, callbackArgs=(then,))

    def _arrived(self, result: object, then: object) -> None:
        self._pending = None
        if self._state is TunnelState.DECIDING:
            try:
                then(result)  # type: ignore[operator]
            except Exception:
                self._failed(Failure())  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure) -> None:
        self._pending = None
        if self._state is not TunnelState.DECIDING:
            return
        error = failure.value
        if not isinstance(error, EgressError):
            _log.failure("tunnel {request_id} failed", failure=failure, request_id=self._request_id)
            asking = self._asked_at is not None and self._decision is None
            error = (
                AuthorizerUnavailable("the authorizer failed")
                if asking
                else InternalFault("the proxy failed; the operator's log has the details")
            )
        self._refuse(error)

    def _end(self, error: EgressError | None) -> None:
        """Let go of everything; put the tunnel on record unless its refusal already is."""
        if self._state is TunnelState.DONE:
            return
        self._enter(TunnelState.DONE)
        self._watchdog.stop()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        if self._refusal is None and not isinstance(error, ClientGone) or self._decision is not None:
            if self._refusal is None:
                self._report(error, 200)

    def _report(self, error: EgressError | None, status: int | None) -> None:
        decision, relay = self._decision, self._relay
        outcome = outcome_of(error) if error is not None else None
        verdict = outcome.verdict if outcome is not None else "allow"
        self._parts.report(
            ExchangeRecord(
                time=self._started,
                request_id=self._request_id,
                client=self._client,
                stage=Stage.TUNNEL.value,
                method="CONNECT",
                url=str(self._origin("https")),
                verdict=decision.verdict.value if decision is not None else verdict,
                outcome=outcome.code if outcome is not None else "forwarded",
                reason=error.reason if error is not None else (decision.reason if decision is not None else ""),
                decided_by=decision.decided_by if decision is not None else "proxy",
                rule_id=decision.rule_id if decision is not None else None,
                decision_seconds=self._decision_seconds,
                status=status,
                bytes_sent=relay.sent if relay is not None else 0,
                bytes_received=relay.received if relay is not None else 0,
                duration=self._parts.clock.seconds() - self._clock_started,
            )
        )


def _readable(reason: Failure) -> str:
    """The OpenSSL reason in words."""
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        text = str(error.args[0][-1][-1])
        if "unknown ca" in text or "bad certificate" in text or "certificate unknown" in text:
            return f"{text}; is the proxy's CA trusted by this client?"
        return text
    return "the connection was closed"


class _Shared:
    """The outer transport, for a session inside a tunnel that speaks plain HTTP: its producer is registered already."""

    def __init__(self, transport: ITransport | None) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """The outer session passes on what its registration brings."""

    def unregisterProducer(self) -> None:
        """Lets the transport close once its buffer is empty."""
        self._transport.unregisterProducer()  # type: ignore[union-attr]
