"""The tunneling protocol of CONNECT: it intercepts TLS, parses plain HTTP and relays passthrough hosts.

The proxy responds to a CONNECT with 200 before it checks the destination.  It sends every denial or rejection inside
the tunnel, in a session that the client can read, because clients show only the status code of a failed CONNECT.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.http.sniff import TunnelProtocol, detect_protocol
from egress.model.authority import Authority, Origin
from egress.model.client_tls import LeafKey
from egress.model.decision import ClientIdentity, Headers, Stage
from egress.model.errors import (
    CertificateNotPermitted,
    ClientDisconnected,
    ClientTlsFailed,
    EgressError,
    InternalError,
    TunnelProtocolUnknown,
    TunnelWithoutRequest,
    outcome_of,
)
from egress.model.phases import RELAY
from egress.model.route import Purpose, Route
from egress.proxy.client_session import HttpSession
from egress.proxy.destination import Destination
from egress.proxy.http2_requests import bound_session
from egress.proxy.http2_session import Http2Session
from egress.proxy.interfaces import IClientConnection, ITunnel
from egress.proxy.state_machine import StateMachine
from egress.proxy.tls_intercept import Handshake, parse_client_hello
from egress.proxy.transaction import Transaction
from egress.proxy.tunnel_authorization import TunnelAuthorization
from egress.proxy.tunnel_binding import TunnelBinding
from egress.proxy.tunnel_errors import handshake_fault, unused_connection_error
from egress.proxy.tunnel_replies import CONNECT_REPLIES, TunnelReplies
from egress.proxy.tunnel_state import RELAYED, TRANSITIONS, TunnelState
from egress.relay.relay import Relay
from egress.tls.host_contexts import HTTP2
from egress.transport.tcp import SharedTransport, describe_peer

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

_log = Logger()


class Tunnel(StateMachine[TunnelState]):
    """The tunnel of one CONNECT, of a SOCKS5 connection, or of a connection to a transparent listener.

    It receives the data that the outer session's transport reads, and passes it to the protocol inside the tunnel.

    @param headers: the fields of the CONNECT, which can contain the context of a trace.
    @param replies: the responses to the request for the tunnel.
    @raise CertificateNotPermitted: if the tunnel would be intercepted, and the CA may not sign for the host. A client
        can read this error only before the tunnel is established.
    """

    transitions: ClassVar[Mapping[TunnelState, frozenset[TunnelState]]] = TRANSITIONS

    def __init__(
        self,
        context: ProxyContext,
        outer: IClientConnection,
        authority: Authority,
        client: ClientIdentity,
        headers: Headers = (),
        *,
        replies: TunnelReplies = CONNECT_REPLIES,
    ) -> None:
        self._no_certificate = context.tunnels.interception.refusal(authority)
        if self._no_certificate is not None and not context.tunnels.is_passthrough(authority):
            raise CertificateNotPermitted(self._no_certificate)
        self.transport: Any = None
        self._context = context
        self._outer = outer
        self._authority = authority
        self._client = client
        self._replies = replies
        self._transaction = Transaction(
            context.authz,
            self._refuse,
            client=client,
            stage=Stage.TUNNEL,
            method="CONNECT",
            origin=Origin.of("https", authority),
            path="",
        )
        if context.authz.tracer is not None:
            self._transaction.trace = context.authz.tracer.begin(headers)
        self._state = TunnelState.DECIDING
        self._buffered = b""
        self._protocols: tuple[bytes, ...] = ()
        self._refusal: EgressError | None = None
        self._inner: Any = None
        self._session: HttpSession | Http2Session | None = None
        self._relay: Relay | None = None

    def begin(self, buffered: bytes) -> None:
        """Take over the client's connection.

        @param buffered: the data that the client sent after the CONNECT.
        """
        self.transport = self._outer.transport
        self._outer.watch(None)
        self._buffered = buffered
        if self._context.tunnels.is_passthrough(self._authority):
            self._outer.pause_reading()
            origin = Origin("https", self._authority)
            destination = Destination(self._context.origins, self._client, origin, Purpose.TUNNEL)
            TunnelAuthorization(self._transaction, self._authority, destination, self._dial, self._refuse).begin()
        else:
            self._sniff()

    # -- passthrough

    def _dial(self, route: Route) -> None:
        lease = self._transaction.lease
        if lease is not None:
            lease.known_addresses = route.known_addresses
        relay = Relay(self, self.transport, self._context.flows, lease)
        dialing = self._context.origins.dialer.dial(route, relay.origin, self._transaction.phases)
        self._transaction.await_or_fail(dialing, partial(self._relaying, relay, route))

    def _relaying(self, relay: Relay, route: Route, dialed: None) -> None:
        self._enter(TunnelState.RELAY)
        self._transaction.begin_phase(RELAY)
        self._transaction.hop = describe_peer(route, relay.origin.transport)
        self._relay = relay
        self._replies.establish(self._outer)
        buffered, self._buffered = self._buffered, b""
        relay.begin(buffered)
        self.relay_active()
        self._outer.resume_reading()

    def relay_active(self) -> None:
        """See L{egress.relay.relay.RelayOwner}."""
        self._outer.watch(self._context.limits.tunnel_timeout)

    def relay_over(self, *, broken: bool) -> None:
        """See L{egress.relay.relay.RelayOwner}."""
        self._end(None)
        if broken:
            self._outer.abort()
        else:
            self._outer.close()

    def _refuse(self, error: EgressError) -> None:
        """Refuse a passthrough tunnel: intercept it, and send the error response inside it."""
        if self._state is not TunnelState.DECIDING:
            # The lease ended, or an internal error occurred after the decision: no response is possible.
            self._end(error)
            if self._relay is not None:
                # In this turn of the reactor, so that no more data is relayed.
                self._relay.drop()
            self._outer.abort()
            return
        self._refusal = error
        status = outcome_of(error).status
        self._transaction.report(error, status.value if status is not None else None, 0, 0)
        if self._no_certificate is None and not self._context.tunnels.is_opaque_port(self._authority):
            self._sniff()
        else:
            self._refuse_connect(error)

    def revoke(self, cutoff: Cutoff) -> None:
        """See L{ITunnel.revoke}."""
        if self._state in RELAYED and self._transaction.is_revoked(cutoff):
            cutoff.tunnels += 1
            self._refuse(cutoff.error)

    def _refuse_connect(self, error: EgressError) -> None:
        """Respond to the CONNECT itself: the tunnel carries neither TLS nor HTTP, or no certificate can be issued."""
        self._end(None)
        if self._replies.refuse(self._outer, error, self._transaction.request_id, self._context.date()):
            self._outer.close()
        else:
            self._outer.abort()

    # -- protocol detection

    def _sniff(self) -> None:
        self._enter(TunnelState.SNIFFING)
        self._replies.establish(self._outer)
        self._outer.watch(self._context.limits.tls_timeout)
        self._outer.resume_reading()
        if self._buffered:
            self._detect()
        else:
            self._context.tunnels.interception.prepare(self._authority)

    def _detect(self) -> None:
        inner = detect_protocol(self._buffered, http2=self._context.tunnels.http2)
        if inner is TunnelProtocol.TLS:
            self._read_client_hello()
        elif inner is TunnelProtocol.HTTP or inner is TunnelProtocol.HTTP2:
            self._enter(TunnelState.SESSION)
            self._outer.unwatch()
            session = self._inner = self.new_session("http", HTTP2 if inner is TunnelProtocol.HTTP2 else None)
            session.makeConnection(SharedTransport(self.transport))
            self._pass_buffered()
        elif inner is TunnelProtocol.UNKNOWN:
            self._end(TunnelProtocolUnknown("the data in the tunnel is neither TLS nor HTTP"))
            self._outer.abort()

    def new_session(self, scheme: str, protocol: bytes | None) -> HttpSession | Http2Session:
        """See L{egress.proxy.tls_intercept.HandshakeOwner}."""
        origin = Origin.of(scheme, self._authority)
        binding = TunnelBinding(origin, self._client, self._refusal, self._transaction.request_id)
        if protocol == HTTP2:
            self._session = bound_session(self._context, binding)
        else:
            self._session = HttpSession(self._context, binding=binding)
        return self._session

    @property
    def _hello_started(self) -> bool:
        return self._state is TunnelState.SNIFFING and detect_protocol(self._buffered) is TunnelProtocol.TLS

    def _read_client_hello(self) -> None:
        hello = parse_client_hello(self._buffered)
        if hello is None:
            return
        self._enter(TunnelState.HANDSHAKE)
        self._protocols = hello.protocols
        key = hello.key
        preparing = self._context.tunnels.interception.prepared(key)
        if preparing is None:
            self._begin_tls(key)
            return
        self._outer.pause_reading()
        self._transaction.await_or_fail(preparing, partial(self._begin_tls, key))

    def _begin_tls(self, key: LeafKey, prepared: object = None) -> None:
        try:
            tls = self._context.tunnels.interception.layer(self._authority, key, Handshake(self))
        except Exception:  # noqa: BLE001
            # Most likely an expired CA. Without a certificate there is no session that could carry an error response.
            _log.failure("no certificate for {authority}", authority=self._authority)
            self._end(InternalError("the proxy cannot issue a certificate for this host; see the log of the proxy"))
            self._outer.abort()
            return
        self._outer.resume_reading()
        self._inner = tls
        # The TLS layer registers producers on the transport itself.
        self.transport.unregisterProducer()
        tls.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self._pass_buffered()

    def _pass_buffered(self) -> None:
        buffered, self._buffered = self._buffered, b""
        if self._inner is not None:
            self._inner.dataReceived(buffered)

    def handshake_over(self) -> None:
        """Handle the end of the TLS handshake."""
        self._enter(TunnelState.SESSION)
        self._outer.unwatch()

    def handshake_failed(self, reason: Failure) -> None:
        """Handle a failed TLS handshake. Most often, the client does not trust the CA, or pins a certificate."""
        if self._state is TunnelState.HANDSHAKE:
            self._end(handshake_fault(reason.value, self._authority, self._protocols))

    # -- transport

    def dataReceived(self, data: bytes) -> None:
        """Pass on data from the client."""
        if self._inner is not None:
            self._inner.dataReceived(data)
        elif self._relay is not None:
            self._relay.client_data(data)
        else:
            self._buffered += data
            if self._state is TunnelState.SNIFFING:
                self._detect()
            else:
                self._outer.pause_reading()

    def readConnectionLost(self) -> None:
        """Handle the end of the client's data."""
        if self._relay is not None:
            self._relay.client_end()
        elif self._state is TunnelState.SESSION and self._inner is self._session and self._session is not None:
            self._session.readConnectionLost()
        else:
            self._outer.close()

    def writeConnectionLost(self) -> None:
        """Handle that all written data was sent, including the end of the stream. A plain HTTP session that closes
        waits for this.
        """
        if self._state is TunnelState.SESSION and self._inner is self._session and self._session is not None:
            self._session.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Handle the loss of the client connection."""
        inner_protocol, self._inner = self._inner, None
        session = self._session
        if inner_protocol is not None:
            inner_protocol.connectionLost(reason)
        if self._relay is not None:
            self._relay.drop()
            self._end(None)
        elif self._state is TunnelState.DECIDING:
            self._end(ClientDisconnected("the client disconnected before it sent a request in the tunnel"))
        elif self._state is TunnelState.HANDSHAKE or self._hello_started:
            self._end(handshake_fault(reason.value, self._authority, self._protocols))
        elif session is not None and session.unused_loss is not None:
            ended, tls = session.unused_loss.value, inner_protocol is not session
            http2 = self._context.tunnels.http2
            self._end(unused_connection_error(ended, self._authority, self._protocols, tls=tls, http2=http2))
        elif self._state is TunnelState.SNIFFING:
            self._end(unused_connection_error(None, self._authority, (), tls=False))

    def pauseProducing(self) -> None:
        """Stop producing: the client reads too slowly."""
        if self._relay is not None:
            self._relay.pause_origin()
        elif self._session is not None:
            self._session.pauseProducing()

    def resumeProducing(self) -> None:
        """Produce again: the client reads again."""
        if self._relay is not None:
            self._relay.resume_origin()
        elif self._session is not None:
            self._session.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the transport is gone, and L{connectionLost} follows."""

    # -- end

    def expired(self) -> None:
        """Handle a timeout of the outer session's watchdog."""
        if self._state is TunnelState.RELAY:
            self._end(None)
            self._outer.abort()
        elif self._state is TunnelState.HANDSHAKE or self._hello_started:
            self._end(ClientTlsFailed("the client did not finish the TLS handshake in time"))
            self._outer.abort()
        else:
            self._end(TunnelWithoutRequest("the client sent no data in the tunnel in time"))
            self._outer.close()

    def _end(self, error: EgressError | None) -> None:
        """Release all resources and report the tunnel.

        Only relayed tunnels and tunnels without a request are reported here. A refusal was reported when it was sent.
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


# Not as a decorator, which would prevent the compilation of the class.
classImplements(Tunnel, ITunnel)
