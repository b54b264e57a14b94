"""The state machine of one request: check, authorize, forward, respond, record.

L{egress.proxy.exchange_state} lists the states and their successors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import succeed

from egress.config.model import OversizeBody
from egress.http.events import End
from egress.http.obligations import affected_names
from egress.model.decision import ClientIdentity, Decision, Stage, Verdict
from egress.model.errors import (
    ClientDisconnected,
    Denied,
    EgressError,
    InternalError,
    OriginDisconnected,
    OriginTimeout,
    RequestTimeout,
)
from egress.model.phases import DNS, READ, REUSED
from egress.model.route import Purpose, Route
from egress.proxy import exchange_state as states
from egress.proxy.body_collector import BodyCollector
from egress.proxy.destination import Destination
from egress.proxy.exchange_report import report_exchange
from egress.proxy.exchange_state import TRANSITIONS, State
from egress.proxy.forwarder import Forwarder
from egress.proxy.grpc_outcome import break_off
from egress.proxy.grpc_streams import may_stream
from egress.proxy.inspecting_forwarder import forwarder_for
from egress.proxy.interfaces import IClientStream
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.request_body import RequestBody
from egress.proxy.state_machine import StateMachine
from egress.proxy.transaction import Transaction
from egress.upstream.interfaces import IOriginStream

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext
    from egress.proxy.revocations import Cutoff

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_STAGE: Final = Stage.REQUEST
_REQUEST: Final = Purpose.REQUEST
_UPGRADE: Final = Purpose.UPGRADE

# The idempotent methods (RFC 9110 sections 9.2.1 and 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class Exchange(StateMachine[State]):
    """One request of a client, and its response.

    The owner of its client stream passes content to it (L{body_data}, L{body_end}) while L{wants_body} is true. It ends
    exactly once, in L{_finish}.

    @param stream: the client's side of the exchange.
    @ivar request_id: the id in the audit log, in responses and in authorization requests.
    """

    transitions = TRANSITIONS
    # The compiler permits C{del} only for these.
    __deletable__ = ("_transaction",)

    def __init__(
        self, context: ProxyContext, stream: IClientStream, client: ClientIdentity, outgoing: OutgoingRequest
    ) -> None:
        self.head = head = outgoing.head
        self._stream = stream
        self._context = context
        self._origin = origin = outgoing.origin
        self._state = states.CHECKING
        self._upgrade = outgoing.upgrade
        self._outgoing = outgoing
        self._content = RequestBody(head.framing, context.limits.body)
        self._transaction = Transaction(
            context.authz,
            self.fail,
            client=client,
            stage=_STAGE,
            method=head.method,
            origin=origin,
            path=outgoing.path,
            http=head.version,
        )
        self._transaction.headers = outgoing.fields_for_authorizer
        if context.authz.tracer is not None:
            self._transaction.trace = context.authz.tracer.begin(head.headers)
        self.request_id = self._transaction.request_id
        purpose = _UPGRADE if self._upgrade else _REQUEST
        self._destination = Destination(context.origins, client, origin, purpose)
        self._from_pool = False
        self._forwarder: Forwarder | None = None
        self._client = client
        self._collector: BodyCollector | None = None

    @property
    def wants_body(self) -> bool:
        """Whether the exchange can take more of the request's content."""
        if self._content.over:
            return False
        if self._state is states.FORWARDING:
            return self._forwarder is not None and self._forwarder.wants_body
        collector = self._collector if self._state is states.COLLECTING else None
        return collector is not None and collector.wants_more

    @property
    def body_over(self) -> bool:
        """Whether the whole request was read."""
        return self._content.over

    def client_ended(self) -> bool:
        """Handle the end of the client's data.

        @return: whether the client may still wait for a response, or for the remaining data after an upgrade.
        """
        if self._state is states.SWITCHED:
            return self._forwarder is not None and self._forwarder.switched_end()
        return self._content.over

    # -- before the decision

    def start(self) -> None:
        """Check the destination, then authorize the request."""
        pooled = None if self._upgrade else self._stream.logins.route(self._outgoing.key)
        try:
            resolve_first = self._destination.begin(pooled)
        except EgressError as error:
            self.fail(error)
            return
        if resolve_first:
            self._enter(states.RESOLVING)
            self._transaction.begin_phase(DNS)
            self._transaction.await_or_fail(self._destination.look_up_first(), self._looked_up_first)
        else:
            self._collect_or_authorize()

    def _looked_up_first(self, _: None) -> None:
        self._collect_or_authorize()

    def _collect_or_authorize(self) -> None:
        if self._content.over or not self._context.authz.authorizer.needs_body or may_stream(self.head):
            self._authorize()
        else:
            self._begin_collecting()

    def _begin_collecting(self) -> None:
        if self._content.announced_oversize and not self._may_truncate:
            self.fail(self._content.too_large())
            return
        if self._state is not states.CHECKING:
            self._transaction.begin_phase(READ)
        self._enter(states.COLLECTING)
        self._collector = BodyCollector(self._context, self._stream, self._content, self._client.limit_key)
        self._collector.begin(expects_continue=self.head.expects_continue)

    @property
    def _may_truncate(self) -> bool:
        return self._context.oversize_body is OversizeBody.TRUNCATE

    def _collect(self, collector: BodyCollector, data: bytes) -> None:
        collector.take(data)
        if not self._content.oversize:
            return
        if self._may_truncate:
            self._authorize()
        else:
            self.fail(self._content.too_large())

    def _authorize(self) -> None:
        self._enter(states.DECIDING)
        self._stream.watch(None)
        content, destination = self._content, self._destination
        self._transaction.authorize(
            self._outgoing.fields_for_authorizer,
            content.for_decision(),
            content.oversize,
            self._decided,
            withheld=not content.over and content.withheld,
            length=content.length,
            addresses=destination.addresses,
            addresses_withheld=destination.withheld,
        )
        if self._state is states.DECIDING:
            self._outgoing.prepare(self._stream.logins.route(self._outgoing.key))

    def _decided(self, decision: Decision) -> None:
        if not decision.allowed:
            if decision.verdict is Verdict.NEED_BODY:
                self._begin_collecting()
            elif decision.verdict is Verdict.NEED_ADDRESSES:
                self._find_addresses()
            else:
                self.fail(Denied(decision))
            return
        lease, content = self._transaction.lease, self._content
        if decision.obligations is not self._outgoing.obligations:
            self._outgoing.take(decision.obligations)
            content.hidden = affected_names(decision.obligations)
        if lease is None or (lease.announce(content.announced or 0) and lease.consume(content.collected_size)):
            self._connect()

    def _find_addresses(self) -> None:
        """Resolve the addresses that the authorizer needs, then send another authorization request."""
        self._enter(states.RESOLVING)
        pooled = None if self._upgrade else self._stream.logins.route(self._outgoing.key)
        if pooled is None:
            self._transaction.begin_phase(DNS)
        looking_up = self._destination.look_up() if pooled is None else succeed(pooled)
        self._transaction.await_or_fail(looking_up, self._authorize_route)

    def _authorize_route(self, route: Route) -> None:
        self._destination.set_addresses(route)
        self._authorize()

    # -- connection to the origin

    @property
    def _repeatable(self) -> bool:
        return self.head.method in IDEMPOTENT and self._content.over and not self._content.streamed

    def _connect(self) -> None:
        key, logins = self._outgoing.key, self._stream.logins
        # While content is still to be received, the request cannot be retried.
        fresh, addresses = self._outgoing.logs_in or self._outgoing.unread > 0, self._destination.addresses
        upgrade, repeatable = self._upgrade is not None, self._repeatable
        pooled = logins.take(key, repeatable=repeatable, addresses=addresses, upgrade=upgrade, fresh=fresh)
        if pooled is not None:
            # Do not retry a request of an authenticated connection: another connection is not authenticated.
            self._from_pool = not pooled.logged_in
            self._enter(states.CONNECTING)
            self._transaction.begin_phase(REUSED)
            self._forward(pooled)
            return
        if logins.lost(key):
            self.fail(OriginDisconnected(f"{self._origin.authority} closed the connection that it had authenticated"))
            return
        self._from_pool = False
        if self._destination.route is None:
            self._enter(states.RESOLVING)
            self._transaction.begin_phase(DNS)
            self._transaction.await_or_fail(self._destination.look_up(), self._looked_up)
        else:
            self._dial(self._destination.route)

    def _looked_up(self, route: Route) -> None:
        if route.is_subset_of(self._destination.addresses):
            self._dial(route)
        else:
            # The decision was about the addresses of a pooled connection that no longer exists.
            self._authorize_route(route)

    def _dial(self, route: Route) -> None:
        self._enter(states.CONNECTING)
        client, phases, outgoing = self._client.limit_key, self._transaction.phases, self._outgoing
        streams = self._context.origins.streams
        opening = streams.open(
            route, client, phases, key=outgoing.key, http2=outgoing.permits_http2, prior_knowledge=outgoing.is_grpc
        )
        self._transaction.await_or_fail(opening, self._forward)

    def _forward(self, origin: IOriginStream) -> None:
        self._enter(states.FORWARDING)
        self._transaction.hop = origin.hop
        if self._outgoing.logs_in:
            origin.log_in()
        if self._transaction.trace is not None:
            self._outgoing.propagate(self._transaction.trace.begin_attempt())
        route = origin.route
        upstream = route.upstream if route.absolute_form else None
        if (lease := self._transaction.lease) is not None:
            lease.known_addresses = route.known_addresses
        self._forwarder = forwarder = forwarder_for(
            self,
            self._context,
            self._transaction,
            client=self._stream,
            origin=origin,
            request=self._outgoing,
            content=self._content,
        )
        forwarder.begin(self._outgoing.forwarded_head(upstream))

    def body_data(self, data: bytes) -> None:
        """Process content from the client."""
        if self._state is states.COLLECTING and self._collector is not None:
            self._collect(self._collector, data)
        elif self._forwarder is not None:
            self._forwarder.body_data(data)

    def body_end(self, end: End) -> None:
        """Handle the end of the client's content."""
        self._content.finish(end)
        if self._state is states.COLLECTING and self._collector is not None:
            self._collector.complete()
            self._authorize()
        elif self._forwarder is not None:
            self._forwarder.body_end()

    # -- callbacks of the forwarder

    def forwarded(self, error: EgressError | None = None) -> None:
        """See L{egress.proxy.interfaces.ForwarderOwner}."""
        self._finish(error)
        self._stream.finish()

    def forwarding_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """See L{egress.proxy.interfaces.ForwarderOwner}."""
        if self._state is states.SWITCHED:
            self._finish(None)
            self._stream.finish()
        elif (unread and self._outgoing.may_resend()) or (self._from_pool and untouched and self._repeatable):
            # RFC 9112 section 9.3.1: the origin closed an idle connection while the request was sent.
            self._forwarder = None
            self._connect()
        else:
            self.fail(error)

    def upgraded(self) -> None:
        """See L{egress.proxy.interfaces.ForwarderOwner}."""
        self._enter(states.SWITCHED)
        self._stream.relay()

    def upgraded_data(self, data: bytes) -> None:
        """Relay client data after an upgrade."""
        if self._forwarder is not None:
            self._forwarder.switched_data(data)

    def pause_response(self) -> None:
        """Pause the response: the client reads too slowly."""
        if self._forwarder is not None:
            self._forwarder.pause_response()

    def resume_response(self) -> None:
        """Resume the response: the client reads again."""
        if self._forwarder is not None:
            self._forwarder.resume_response()

    # -- end

    def expired(self) -> None:
        """Handle the timeout that the exchange set."""
        if self._state is states.SWITCHED:
            self._finish(None)
            self._stream.finish()
        elif self._stream.backpressured:
            self.fail(ClientDisconnected("the client did not read the response in time"))
        elif self._state is states.COLLECTING and self._collector is not None:
            self.fail(self._collector.expired())
        elif self.wants_body:
            self.fail(RequestTimeout("the content was not received in time"))
        else:
            self.fail(OriginTimeout(f"{self._origin.authority} did not respond in time"))

    def client_lost(self, error: EgressError | None = None) -> None:
        """Handle the loss of the client connection, or an error of the client that permits no response."""
        if self._state is states.SWITCHED:
            self._finish(None)
        elif self._state is not states.DONE:
            self._finish(error or ClientDisconnected("the client disconnected before the exchange was complete"))

    def revoke(self, cutoff: Cutoff) -> None:
        """End the exchange, if its decision is revoked."""
        if self._state is not states.DONE and self._transaction.is_revoked(cutoff):
            cutoff.requests += 1
            if self._forwarder is None or not self._forwarder.end_messages(cutoff.error):
                self.fail(cutoff.error)

    def fail(self, error: EgressError) -> None:
        """End with an error: send an error response, or abort the connection if the response has started."""
        if self._state is states.DONE:
            if isinstance(error, InternalError):
                # The cleanup failed, so the client would wait forever.
                self._stream.reset()
            return
        response_started = self._forwarder is not None and self._forwarder.status is not None
        self._finish(error)
        if response_started:
            break_off(self._stream, self.head, error, self.request_id)
        else:
            self._stream.fail(error, self.request_id)

    def _finish(self, result: EgressError | None) -> None:
        """Release all resources and report the exchange, once."""
        self._enter(states.DONE)
        if self._forwarder is not None:
            self._forwarder.drop()
        self._content.forget()
        if self._collector is not None:
            self._collector.drop()
        report_exchange(self._transaction, self.head, self._content, self._forwarder, result)
        # These refer to the exchange.  Without the cycles, its memory is freed immediately, and the garbage collector,
        # which takes several percent of the time of a request, has less to do.
        self._forwarder = None
        del self._transaction
