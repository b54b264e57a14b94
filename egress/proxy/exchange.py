"""One request from its head to its record: checked, decided, forwarded, answered.

The states, and what may follow each, are in L{TRANSITIONS}.  Only C{DECIDING} leads towards the origin, and only with
an allowing decision.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import succeed

from egress.config.model import OversizeBody
from egress.http.body import End
from egress.http.obligations import affected_names
from egress.model.decision import ClientIdentity, Decision, Stage, Verdict
from egress.model.errors import (
    ClientGone,
    Denied,
    EgressError,
    InternalFault,
    OriginDisconnected,
    OriginTimeout,
    RequestTimeout,
    outcome_of,
)
from egress.model.route import Purpose, Route
from egress.proxy.body_collector import BodyCollector
from egress.proxy.destination import Destination
from egress.proxy.forwarder import Forwarder
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.request_body import RequestBody
from egress.proxy.transaction import Transaction
from egress.upstream.origin_connection import OriginConnection

if TYPE_CHECKING:
    from egress.proxy.client_session import HttpSession
    from egress.proxy.context import ProxyContext

# RFC 9110 sections 9.2.1 and 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class State(enum.Enum):
    """Where an exchange stands."""

    CHECKING = "what can be told of port, address and name without a look-up"
    RESOLVING = "looking up the name, and the address guard at what it leads to"
    COLLECTING = "reading the content that the authorizer looks at"
    DECIDING = "with the authorizer"
    CONNECTING = "dialling the origin"
    FORWARDING = "request and answer flow"
    SWITCHED = "upgraded: bytes flow both ways"
    DONE = "over, and on record"

    # Enum's own is written in Python, and the table below is looked up at each step.
    __hash__ = object.__hash__


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.CHECKING: frozenset({State.RESOLVING, State.COLLECTING, State.DECIDING, State.DONE}),
    # The look-up came before the question; the authorizer wants the addresses, or they have changed; it has allowed.
    State.RESOLVING: frozenset({State.COLLECTING, State.DECIDING, State.CONNECTING, State.DONE}),
    State.COLLECTING: frozenset({State.DECIDING, State.DONE}),
    # Back to COLLECTING, once: the authorizer wants the content, too.  No name is looked up before it was here, unless
    # the look-up comes first.
    State.DECIDING: frozenset({State.COLLECTING, State.RESOLVING, State.CONNECTING, State.DONE}),
    State.CONNECTING: frozenset({State.FORWARDING, State.DONE}),
    # Back: a pooled connection was stale, and the request may be sent again.
    State.FORWARDING: frozenset({State.RESOLVING, State.CONNECTING, State.SWITCHED, State.DONE}),
    State.SWITCHED: frozenset({State.DONE}),
    State.DONE: frozenset(),
}


class Exchange:
    """One request of a client session.

    The session feeds it content (L{body_data}, L{body_end}) while L{wants_body}.  It ends once, in L{_finish},
    whatever happens.
    """

    def __init__(
        self, session: HttpSession, parts: ProxyContext, client: ClientIdentity, outgoing: OutgoingRequest
    ) -> None:
        self.head = head = outgoing.head
        self._session = session
        self._parts = parts
        self._origin = origin = outgoing.origin
        self._state = State.CHECKING
        self._upgrade = outgoing.upgrade
        self._outgoing = outgoing
        self._content = RequestBody(head.framing, parts.limits.body)
        self._transaction = Transaction(parts, client, Stage.REQUEST, head.method, origin, outgoing.path, self.fail)
        self._destination = Destination(parts, client, origin, Purpose.UPGRADE if self._upgrade else Purpose.REQUEST)
        self._from_pool = False
        self._fresh = False
        self._forwarding: Forwarder | None = None
        self._client = client
        self._collecting: BodyCollector | None = None

    @property
    def request_id(self) -> str:
        """The id in the audit log, in answers and towards the authorizer."""
        return self._transaction.request_id

    @property
    def wants_body(self) -> bool:
        """Whether the session may read on in the request's content."""
        if self._content.over:
            return False
        if self._state is State.FORWARDING:
            return self._forwarding is not None and self._forwarding.wants_body
        collecting = self._collecting if self._state is State.COLLECTING else None
        return collecting is not None and collecting.wants_more

    @property
    def body_over(self) -> bool:
        """Whether the whole request was read."""
        return self._content.over

    def client_ended(self) -> bool:
        """The client sends no more; say whether it may still wait for an answer, or for the rest after an upgrade."""
        if self._state is State.SWITCHED:
            return self._forwarding is not None and self._forwarding.switched_end()
        return self._content.over

    @property
    def is_upgraded(self) -> bool:
        """Whether the connection speaks another protocol now."""
        return self._state is State.SWITCHED

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self._state]:
            raise AssertionError(f"{self._state.name} does not lead to {state.name}")
        self._state = state

    # -- up to the decision

    def start(self) -> None:
        """Have the destination checked, then decided on."""
        pooled = None if self._upgrade else self._session.logins.route(self._outgoing.key)
        try:
            goes_first = self._destination.begin(pooled)
        except EgressError as error:
            self.fail(error)
            return
        if goes_first:
            self._enter(State.RESOLVING)
            self._transaction.await_or_fail(self._destination.look_up_first(), lambda _: self._reachable())
        else:
            self._reachable()

    def _reachable(self) -> None:
        if self._content.over or not self._parts.authorizer.needs_body:
            self._ask()
        else:
            self._begin_collecting()

    def _begin_collecting(self) -> None:
        if self._content.announced_oversize and not self._may_truncate:
            self.fail(self._content.too_large())
            return
        self._enter(State.COLLECTING)
        self._collecting = BodyCollector(self._parts, self._session, self._content, self._client.limit_key)
        self._collecting.begin(expects_continue=self.head.expects_continue)

    @property
    def _may_truncate(self) -> bool:
        return self._parts.oversize_body is OversizeBody.TRUNCATE

    def _collect(self, collecting: BodyCollector, data: bytes) -> None:
        collecting.take(data)
        if not self._content.oversize:
            return
        if self._may_truncate:
            self._ask()
        else:
            self.fail(self._content.too_large())

    def _ask(self) -> None:
        self._enter(State.DECIDING)
        self._session.watch(None)
        content, destination = self._content, self._destination
        self._transaction.ask(
            self._outgoing.asked,
            content.for_decision(),
            content.oversize,
            self._decided,
            withheld=not content.over and content.withheld,
            length=content.length,
            addresses=destination.addresses,
            addresses_withheld=destination.withheld,
        )

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
        if lease is None or (lease.has_budget(content.announced or 0) and lease.consume(content.collected_size)):
            self._connect()

    def _find_addresses(self) -> None:
        """Ask again with the addresses, as the authorizer wants."""
        self._enter(State.RESOLVING)
        pooled = None if self._upgrade else self._session.logins.route(self._outgoing.key)
        self._transaction.await_or_fail(
            self._destination.look_up() if pooled is None else succeed(pooled), self._ask_about
        )

    def _ask_about(self, route: Route) -> None:
        self._destination.tell(route)
        self._ask()

    # -- towards the origin

    @property
    def _repeatable(self) -> bool:
        return self.head.method in IDEMPOTENT and self._content.over and not self._content.streamed

    def _connect(self) -> None:
        key, logins = self._outgoing.key, self._session.logins
        # With content still to come, the request cannot be sent twice.
        fresh, addresses = self._outgoing.logs_in or self._fresh, self._destination.addresses
        upgrade, repeatable = self._upgrade is not None, self._repeatable
        connection = logins.take(key, repeatable=repeatable, addresses=addresses, upgrade=upgrade, fresh=fresh)
        if connection is not None:
            # Nothing is sent twice where the connection is authenticated: another one is not.
            self._from_pool = not connection.logged_in
            self._enter(State.CONNECTING)
            self._forward(connection)
            return
        if logins.lost(key):
            self.fail(OriginDisconnected(f"{self._origin.authority} closed the connection that it had authenticated"))
            return
        self._from_pool = False
        if self._destination.route is None:
            self._enter(State.RESOLVING)
            self._transaction.await_or_fail(self._destination.look_up(), self._looked_up)
        else:
            self._dial(self._destination.route)

    def _looked_up(self, route: Route) -> None:
        if route.is_subset_of(self._destination.addresses):
            self._dial(route)
        else:
            # What was decided on were those of a pooled connection, which is gone.
            self._ask_about(route)

    def _dial(self, route: Route) -> None:
        self._enter(State.CONNECTING)
        parts = self._parts
        connection = OriginConnection(route, parts.head_limits, parts.clock, parts.turns, self._client.limit_key)
        self._transaction.await_or_fail(self._parts.dialer.dial(route, connection), lambda _: self._forward(connection))

    def _forward(self, connection: OriginConnection) -> None:
        self._enter(State.FORWARDING)
        self._transaction.hop = connection.hop
        if self._outgoing.logs_in:
            connection.private = connection.logged_in = True
        route = connection.route
        upstream = route.upstream if route.absolute_form else None
        release = functools.partial(self._session.logins.keep, self._outgoing.key)
        lease = self._transaction.lease
        if lease is not None:
            lease.leads_to = route.known_addresses
        self._forwarding = Forwarder(
            self, self._session, self._parts, self.head, self._content, connection, release, lease, self._upgrade
        )
        self._forwarding.begin(self._outgoing.encode(upstream))

    def body_data(self, data: bytes) -> None:
        """Take content from the client."""
        if self._state is State.COLLECTING and self._collecting is not None:
            self._collect(self._collecting, data)
        elif self._forwarding is not None:
            self._forwarding.body_data(data)

    def body_end(self, end: End) -> None:
        """Learn that the client's content is complete."""
        self._content.finish(end.trailers)
        if self._state is State.COLLECTING and self._collecting is not None:
            self._collecting.complete()
            self._ask()
        elif self._forwarding is not None:
            self._forwarding.body_end()

    # -- what becomes of the forwarding

    def forwarded(self, *, keep_alive: bool) -> None:
        """See L{egress.proxy.forwarder.Owner}."""
        self._finish(None)
        self._session.exchange_over(self, keep_alive=keep_alive)

    def forwarding_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """See L{egress.proxy.forwarder.Owner}."""
        if self._state is State.SWITCHED:
            self._finish(None)
            self._session.close()
        elif self._from_pool and (unread or (untouched and self._repeatable)):
            # RFC 9112 section 9.3.1: the origin closed an idle connection just as the request went out.
            self._forwarding = None
            self._fresh = unread
            self._connect()
        else:
            self.fail(error)

    def upgraded(self) -> None:
        """See L{egress.proxy.forwarder.Owner}."""
        self._enter(State.SWITCHED)
        self._session.upgraded()

    def upgraded_data(self, data: bytes) -> None:
        """Relay what the client sent after an upgrade."""
        if self._forwarding is not None:
            self._forwarding.switched_data(data)

    def pause_response(self) -> None:
        """The client does not keep up."""
        if self._forwarding is not None:
            self._forwarding.pause_response()

    def resume_response(self) -> None:
        """The client keeps up again."""
        if self._forwarding is not None:
            self._forwarding.resume_response()

    # -- ways out

    def expired(self) -> None:
        """The session's watchdog fired."""
        if self._state is State.SWITCHED:
            self._finish(None)
            self._session.close()
        elif self._session.client_backpressured:
            self.fail(ClientGone("the client did not take its answer in time"))
        elif self._state is State.COLLECTING and self._collecting is not None:
            self.fail(self._collecting.expired())
        elif self.wants_body:
            self.fail(RequestTimeout("the content was not sent in time"))
        else:
            self.fail(OriginTimeout(f"{self._origin.authority} did not answer in time"))

    def client_gone(self) -> None:
        """The client went away."""
        if self._state is State.SWITCHED:
            self._finish(None)
        elif self._state is not State.DONE:
            self._finish(ClientGone("the client went away before the exchange was over"))

    def fail(self, error: EgressError) -> None:
        """End with a fault: answer it, or cut the connection when the answer has begun."""
        if self._state is State.DONE:
            if isinstance(error, InternalFault):
                # What belongs to the end was not done, so the client would wait for ever.
                self._session.abort()
            return
        begun = self._forwarding is not None and self._forwarding.status is not None
        self._finish(error)
        if begun:
            # The client must not take what it has for the whole.
            self._session.abort()
        else:
            self._session.respond_with_error(self, error)

    def _finish(self, result: EgressError | None) -> None:
        """Let go of everything, and put the exchange on record, once."""
        self._enter(State.DONE)
        status: int | None = None
        received = 0
        forwarding = self._forwarding
        if forwarding is not None:
            forwarding.drop()
            status, received = forwarding.status, forwarding.received
        if status is None and result is not None:
            answer = outcome_of(result).status
            status = answer.value if answer is not None else None
        self._content.forget()
        if self._collecting is not None:
            self._collecting.drop()
        self._transaction.report(result, status, self._content.sent, received)
