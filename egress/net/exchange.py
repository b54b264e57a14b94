"""One request from its head to its record: checked, decided, forwarded, answered.

The states, and what may follow each, are in L{TRANSITIONS}.  Only C{DECIDING} leads towards the origin, and only with an
allowing decision.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.config import OversizeBody
from egress.model.authority import Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Header, Headers, Stage
from egress.model.errors import (
    AuthorizerUnavailable,
    ClientGone,
    ContentTooLarge,
    Denied,
    EgressError,
    InternalFault,
    OriginProtocolError,
    OriginTimeout,
    RequestTimeout,
    outcome_of,
)
from egress.model.record import ExchangeRecord
from egress.model.route import Purpose, Route
from egress.net.origin import OriginConnection, PoolKey
from egress.wire.body import BodyKind, End, Framing, encode_chunk
from egress.wire.connect import refusal_by_upstream
from egress.wire.forward import (
    encode_interim,
    encode_request,
    encode_response,
    encode_switch,
    forwarded_fields,
    response_framing,
    wants_websocket,
)
from egress.wire.headers import encode_fields
from egress.wire.http1 import RequestHead, ResponseHead

if TYPE_CHECKING:
    from egress.net.parts import Parts
    from egress.net.server import HttpSession

_log = Logger()

# RFC 9110 sections 9.2.1 and 9.2.2.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# How long an origin that was sent an expectation may keep silent before it gets the content anyway (RFC 9110 section
# 10.1.1 leaves it to the client; this is what common ones do).
CONTINUE_SECONDS: Final = 1.0

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(enum.Enum):
    """Where an exchange stands."""

    CHECKING = "address guard, resolving"
    COLLECTING = "reading the content that the authorizer looks at"
    DECIDING = "with the authorizer"
    CONNECTING = "dialling the origin"
    EXCHANGING = "request and answer flow"
    SWITCHED = "upgraded: bytes flow both ways"
    DONE = "over, and on record"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.CHECKING: frozenset({State.COLLECTING, State.DECIDING, State.DONE}),
    State.COLLECTING: frozenset({State.DECIDING, State.DONE}),
    State.DECIDING: frozenset({State.CONNECTING, State.DONE}),
    State.CONNECTING: frozenset({State.EXCHANGING, State.DONE}),
    # Back to CONNECTING: a pooled connection was stale, and the request may be sent again.
    State.EXCHANGING: frozenset({State.CONNECTING, State.SWITCHED, State.DONE}),
    State.SWITCHED: frozenset({State.DONE}),
    State.DONE: frozenset(),
}


class Exchange:
    """One request of a client session.

    The session feeds it content (L{body_data}, L{body_end}) while L{wants_body}; the origin's connection feeds it the
    answer.  It ends once, in L{_finish}, whatever happens.
    """

    def __init__(
        self, session: HttpSession, parts: Parts, client: ClientIdentity, head: RequestHead, origin: Origin, path: str
    ) -> None:
        self.request_id = parts.new_id()
        self.head = head
        self._session = session
        self._parts = parts
        self._client = client
        self._origin = origin
        self._path = path
        self._state = State.CHECKING
        self._started = parts.wall_clock()
        self._clock_started = parts.clock.seconds()
        self._upgrade = wants_websocket(head)
        self._fields: list[Header] = forwarded_fields(head, origin)
        self._key: PoolKey = (client.pool_key, origin)
        self._pending: Deferred[object] | None = None
        self._route: Route | None = None
        # The request's content.
        self._collected: list[bytes] = []
        self._collected_size = 0
        self._truncated = False
        self._body_over = not head.framing.has_body
        self._trailers: Headers = ()
        self._held_back = False
        self._streamed = False
        self._continue_timer: IDelayedCall | None = None
        # The decision.
        self._decision: Decision | None = None
        self._asked_at: float | None = None
        self._decision_seconds: float | None = None
        # The answer.
        self._connection: OriginConnection | None = None
        self._from_pool = False
        self._out: list[bytes] = []
        self._out_framing: Framing | None = None
        self._status: int | None = None
        self._keep_alive = False
        self._sent = 0
        self._received = 0

    @property
    def url(self) -> str:
        """What the client asked for."""
        return f"{self._origin}{'' if self._path == '*' else self._path}"

    @property
    def wants_body(self) -> bool:
        """Whether the session may read on in the request's content."""
        if self._body_over or self._held_back:
            return False
        return self._state is State.COLLECTING or self._state is State.EXCHANGING

    @property
    def body_over(self) -> bool:
        """Whether the whole request was read."""
        return self._body_over

    @property
    def switched(self) -> bool:
        """Whether the connection speaks another protocol now."""
        return self._state is State.SWITCHED

    def _enter(self, state: State) -> None:
        if state not in TRANSITIONS[self._state]:
            raise AssertionError(f"{self._state.name} does not lead to {state.name}")
        self._state = state

    # -- before the decision

    def start(self) -> None:
        """Have the destination checked, then decided on."""
        if not self._upgrade and self._parts.pool.has(self._key):
            # The addresses of a pooled connection were checked when it was dialled.
            self._checked(None)
            return
        self._wait_for(self._check(), self._checked)

    def _check(self) -> Deferred[Route]:
        purpose = Purpose.UPGRADE if self._upgrade else Purpose.REQUEST
        return self._parts.dialer.check(self._origin, purpose)

    def _checked(self, route: Route | None) -> None:
        self._route = route
        framing = self.head.framing
        if self._body_over or not self._parts.authorizer.needs_body:
            self._ask()
            return
        limit = self._parts.limits.body
        if framing.kind is BodyKind.LENGTH and framing.length > limit and not self._may_truncate:
            self.fail(self._too_large())
            return
        self._enter(State.COLLECTING)
        if self.head.expects_continue:
            # The content is needed here, for the decision.  The origin is still asked whether it wants it.
            self._session.write(CONTINUE)
        self._session.watch(self._parts.limits.head_timeout)
        self._session.advance()

    @property
    def _may_truncate(self) -> bool:
        return self._parts.oversize_body is OversizeBody.TRUNCATE

    def _too_large(self) -> ContentTooLarge:
        return ContentTooLarge(
            f"the content is over the {self._parts.limits.body} bytes that are put to the authorizer; "
            "the operator can raise --body-limit"
        )

    def _collect(self, data: bytes) -> None:
        self._collected.append(data)
        self._collected_size += len(data)
        if self._collected_size > self._parts.limits.body:
            if not self._may_truncate:
                self.fail(self._too_large())
                return
            self._truncated = True
            self._ask()

    def _ask(self) -> None:
        self._enter(State.DECIDING)
        self._session.watch(None)
        body: bytes | None = None
        if self._collected:
            body = b"".join(self._collected)
            self._collected = [body]
            if self._truncated:
                body = body[: self._parts.limits.body]
        request = DecisionRequest(
            request_id=self.request_id,
            stage=Stage.REQUEST,
            method=self.head.method,
            origin=self._origin,
            path=self._path,
            headers=tuple(self._fields),
            client=self._client,
            body=body,
            body_truncated=self._truncated,
        )
        self._asked_at = self._parts.clock.seconds()
        self._wait_for(self._parts.authorizer.decide(request), self._decided)

    def _decided(self, decision: Decision) -> None:
        assert self._asked_at is not None
        self._decision_seconds = self._parts.clock.seconds() - self._asked_at
        self._decision = decision
        if not decision.allowed:
            self.fail(Denied(decision))
            return
        self._enter(State.CONNECTING)
        self._connect()

    # -- towards the origin

    @property
    def _repeatable(self) -> bool:
        return self.head.method in IDEMPOTENT and self._body_over and not self._streamed

    def _connect(self) -> None:
        if not self._upgrade:
            # With content still to come, the request cannot be sent twice.
            connection = self._parts.pool.take(self._key, repeatable=self._repeatable)
            if connection is not None:
                self._from_pool = True
                self._send(connection)
                return
        self._from_pool = False
        if self._route is None:
            self._wait_for(self._check(), self._dial)
        else:
            self._dial(self._route)

    def _dial(self, route: Route) -> None:
        connection = OriginConnection(route, self._parts.head_limits)
        self._wait_for(self._parts.dialer.dial(route, connection), lambda _: self._send(connection))

    def _send(self, connection: OriginConnection) -> None:
        self._enter(State.EXCHANGING)
        self._connection = connection
        route = connection.route
        head = self.head
        upstream = route.upstream if route.absolute_form else None
        data = encode_request(
            head.method,
            self.url if upstream is not None else self._path,
            self._fields,
            http11=head.http11,
            proxy_authorization=upstream.authorization if upstream is not None else None,
        )
        waits = head.expects_continue and bool(self._collected)
        if waits:
            self._held_back = True
            self._continue_timer = self._parts.clock.callLater(CONTINUE_SECONDS, self._send_collected)
        else:
            data += self._take_collected()
        self._session.watch(self._parts.limits.response_timeout)
        connection.send(self, head.method, data)
        if not self._body_over:
            self._session.advance()

    def _take_collected(self) -> bytes:
        """The content that was read before the decision, as it goes on the wire; kept for a second try."""
        data = b"".join(self._collected)
        if not data and not (self._body_over and self.head.framing.has_body):
            return b""
        self._sent = len(data)
        encoded = self._encode(data) if data else b""
        return encoded + (self._encode_end() if self._body_over else b"")

    def _encode(self, data: bytes) -> bytes:
        return encode_chunk(data) if self.head.framing.kind is BodyKind.CHUNKED else data

    def _encode_end(self) -> bytes:
        if self.head.framing.kind is not BodyKind.CHUNKED:
            return b""
        return b"0\r\n%b\r\n" % encode_fields(self._trailers)

    def _send_collected(self) -> None:
        """The origin agreed to the content, or kept silent for long enough."""
        timer, self._continue_timer = self._continue_timer, None
        if timer is None:
            return
        if timer.active():
            timer.cancel()
        self._held_back = False
        if self._connection is not None:
            self._connection.write(self._take_collected())
            self._session.advance()

    def body_data(self, data: bytes) -> None:
        """Take content from the client."""
        if self._state is State.COLLECTING:
            self._session.watch(self._parts.limits.head_timeout)
            self._collect(data)
        elif self._connection is not None:
            self._session.watch(self._parts.limits.response_timeout)
            self._streamed = True
            self._sent += len(data)
            self._connection.write(self._encode(data))

    def body_end(self, end: End) -> None:
        """Learn that the client's content is complete."""
        self._body_over = True
        self._trailers = end.trailers
        if self._state is State.COLLECTING:
            self._ask()
        elif self._connection is not None:
            data = self._encode_end()
            if data:
                self._connection.write(data)

    def pause_request(self) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        if self._state is State.SWITCHED:
            self._session.pause_reading()
        else:
            self._held_back = True

    def resume_request(self) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        if self._state is State.SWITCHED:
            self._session.resume_reading()
        elif self._held_back and self._continue_timer is None:
            self._held_back = False
            self._session.advance()

    # -- the answer

    def response_head(self, head: ResponseHead) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        self._session.watch(self._parts.limits.response_timeout)
        if head.status == 101:
            self._switch(head)
        elif head.status < 200:
            self._interim(head)
        else:
            self._begin_response(head)

    def _interim(self, head: ResponseHead) -> None:
        if head.status == 100 and self._continue_timer is not None:
            self._send_collected()
        elif self.head.http11 and (head.status != 100 or self._expects_relay):
            self._session.write(encode_interim(head))

    @property
    def _expects_relay(self) -> bool:
        return self.head.expects_continue and not self._collected

    def _begin_response(self, head: ResponseHead) -> None:
        connection = self._connection
        assert connection is not None
        upstream = connection.route.upstream
        if head.status == 407 and upstream is not None:
            # A challenge to us, not to the client, which has no business with the upstream proxy's credentials.
            self.fail(refusal_by_upstream(upstream, head.status, head.reason))
            return
        self._cancel_continue()
        framing = response_framing(head, self.head)
        self._out_framing = framing
        self._status = head.status
        self._keep_alive = self._session.may_keep_alive(self) and framing.kind is not BodyKind.UNTIL_CLOSE
        self._out.append(encode_response(head, self.head, framing, keep_alive=self._keep_alive))

    def response_data(self, data: bytes) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        self._received += len(data)
        self._session.watch(self._parts.limits.response_timeout)
        assert self._out_framing is not None
        if self._out_framing.kind is BodyKind.CHUNKED:
            data = encode_chunk(data)
        self._out.append(data)

    def response_flush(self) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        if self._out:
            out, self._out = self._out, []
            self._session.write(out[0] if len(out) == 1 else b"".join(out))

    def response_end(self, trailers: Headers) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        assert self._out_framing is not None
        if self._out_framing.kind is BodyKind.CHUNKED:
            self._out.append(b"0\r\n%b\r\n" % encode_fields(trailers))
        self.response_flush()
        connection, self._connection = self._connection, None
        assert connection is not None
        if connection.reusable and self._body_over and not self._held_back:
            self._parts.pool.put(self._key, connection)
        else:
            connection.finish()
        self._finish("forwarded", self._reason)
        self._session.exchange_over(self, keep_alive=self._keep_alive)

    @property
    def _reason(self) -> str:
        return self._decision.reason if self._decision is not None else ""

    def response_failed(self, error: EgressError, *, untouched: bool) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        self._connection = None
        self._cancel_continue()
        if self._state is State.SWITCHED:
            self._finish("forwarded", self._reason)
            self._session.close()
        elif untouched and self._from_pool and self._repeatable:
            # RFC 9112 section 9.3.1: the origin closed an idle connection just as the request went out.
            self._enter(State.CONNECTING)
            self._connect()
        else:
            self.fail(error)

    # -- after an upgrade

    def _switch(self, head: ResponseHead) -> None:
        if not self._upgrade:
            self.fail(OriginProtocolError("the origin switched protocols unasked"))
            return
        self._enter(State.SWITCHED)
        self._status = head.status
        self._session.write(encode_switch(head))
        self._session.watch(self._parts.limits.tunnel_timeout)
        self._session.switched()

    def response_switched(self, data: bytes) -> None:
        """See L{egress.net.origin.ResponseSink}."""
        self._received += len(data)
        self._session.watch(self._parts.limits.tunnel_timeout)
        self._session.write(data)

    def switched_data(self, data: bytes) -> None:
        """Relay what the client sent after an upgrade."""
        if self._connection is not None:
            self._sent += len(data)
            self._session.watch(self._parts.limits.tunnel_timeout)
            self._connection.write(data)

    def pause_response(self) -> None:
        """The client does not keep up."""
        if self._connection is not None:
            self._connection.pause()

    def resume_response(self) -> None:
        """The client keeps up again."""
        if self._connection is not None:
            self._connection.resume()

    # -- ways out

    def expired(self) -> None:
        """The session's watchdog fired."""
        if self._state is State.COLLECTING:
            self.fail(RequestTimeout("the content was not sent in time"))
        elif self._state is State.SWITCHED:
            self._finish("forwarded", self._reason)
            self._session.close()
        elif not self._body_over and not self._held_back:
            self.fail(RequestTimeout("the content was not sent in time"))
        else:
            self.fail(OriginTimeout(f"{self._origin.authority} did not answer in time"))

    def client_gone(self) -> None:
        """The client went away."""
        if self._state is State.SWITCHED:
            self._finish("forwarded", self._reason)
        elif self._state is not State.DONE:
            self._finish(ClientGone("the client went away before the exchange was over"))

    def fail(self, error: EgressError) -> None:
        """End with a fault: answer it, or cut the connection when the answer has begun."""
        if self._state is State.DONE:
            return
        begun = self._status is not None
        if not begun:
            status = outcome_of(error).status
            self._status = status.value if status is not None else None
        self._finish(error)
        if begun:
            # The client must not take what it has for the whole.
            self._session.abort()
        else:
            self._session.answer(self, error)

    def _wait_for(self, waiting: Deferred, then: object) -> None:  # type: ignore[type-arg]
        self._pending = waiting
        waiting.addCallbacks(self._arrived, self._failed, callbackArgs=(then,))

    def _arrived(self, result: object, then: object) -> None:
        self._pending = None
        if self._state is not State.DONE:
            try:
                then(result)  # type: ignore[operator]
            except Exception:
                self._failed(Failure())  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure) -> None:
        self._pending = None
        if self._state is State.DONE:
            return
        error = failure.value
        if isinstance(error, EgressError):
            self.fail(error)
        elif self._state is State.DECIDING:
            if not isinstance(error, CancelledError):
                _log.failure("the authorizer failed", failure=failure)
            self.fail(AuthorizerUnavailable("the authorizer failed"))
        else:
            _log.failure("exchange {request_id} failed", failure=failure, request_id=self.request_id)
            self.fail(InternalFault("the proxy failed; the operator's log has the details"))

    def _cancel_continue(self) -> None:
        timer, self._continue_timer = self._continue_timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _finish(self, result: EgressError | str, reason: str = "") -> None:
        """Let go of everything, and put the exchange on record, once."""
        self._enter(State.DONE)
        self._cancel_continue()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
        self._out.clear()
        self._collected.clear()
        decision = self._decision
        if isinstance(result, EgressError):
            outcome = outcome_of(result)
            code, reason, verdict = outcome.code, result.reason, outcome.verdict
        else:
            code, verdict = result, "allow"
        if decision is not None:
            verdict = decision.verdict.value
        now = self._parts.clock.seconds()
        if self._decision_seconds is None and self._asked_at is not None:
            self._decision_seconds = now - self._asked_at
        self._parts.report(
            ExchangeRecord(
                time=self._started,
                request_id=self.request_id,
                client=self._client,
                stage=Stage.REQUEST.value,
                method=self.head.method,
                url=self.url,
                verdict=verdict,
                outcome=code,
                reason=reason,
                decided_by=decision.decided_by if decision is not None else "proxy",
                rule_id=decision.rule_id if decision is not None else None,
                decision_seconds=self._decision_seconds,
                status=self._status,
                bytes_sent=self._sent,
                bytes_received=self._received,
                duration=now - self._clock_started,
            )
        )
