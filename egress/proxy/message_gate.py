"""The gate for one direction of an exchange: each message waits for its decision, in order and within limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from egress.config.model import KIB
from egress.messages.splitter import Piece, Splitter
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable, ContentMemoryExhausted, EgressError, MessageDenied
from egress.model.message import Direction, MessageKind
from egress.proxy.memory_budget import Claim
from egress.proxy.message_inspector import MessageInspector
from egress.transport.fair_turns import Pace
from egress.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# The number of messages of one direction that wait for their decisions at the same time.
MAX_WAITING: Final = 8
# The work of one turn of the reactor: each piece costs one unit, and another one for each 16 KiB of its content.
TURN: Final = 64
_UNIT: Final = 16 * KIB
# Bytes that each direction may hold without a claim on the memory that clients share.
FREE: Final = 16 * KIB


class GateOwner(Protocol):
    """The interface of the object on both sides of a gate."""

    def forward(self, data: bytes) -> None:
        """Forward bytes whose messages are allowed."""

    def pause_source(self) -> None:
        """Stop reading: the gate cannot take more bytes."""

    def resume_source(self) -> None:
        """Read again."""

    def messages_failed(self, error: EgressError) -> None:
        """End the exchange: a message is not forwarded.  The gate does nothing more."""


class _Waiting:
    """A piece, and the decision on its message.

    @ivar request: the authorization request; C{None} for a piece without a message.
    @ivar size: its bytes in memory.
    """

    __slots__ = ("call", "data", "decision", "error", "request", "size")

    def __init__(self, data: bytes, request: DecisionRequest | None) -> None:
        self.data = data
        self.request = request
        self.size = len(data) + (0 if request is None else request.content_length or 0)
        self.call: Deferred[Decision] | None = None
        self.decision: Decision | None = None
        self.error: EgressError | None = None

    @property
    def pending(self) -> bool:
        """Whether the decision is still to come."""
        return self.request is not None and self.decision is None and self.error is None


class MessageGate:
    """Forwards the bytes of one direction, each message after its decision.

    The decisions of up to L{MAX_WAITING} messages are requested at the same time, and messages are forwarded in order.
    The gate pauses its source while as many messages wait, while its receiver is slow, and while there is no memory.

    @param inspector: authorizes messages.
    @param owner: receives the bytes and the errors.
    @param splitter: divides the bytes.
    @param kind: the protocol.
    @param direction: the sender of the messages.
    """

    def __init__(
        self,
        context: ProxyContext,
        inspector: MessageInspector,
        owner: GateOwner,
        splitter: Splitter,
        *,
        kind: MessageKind,
        direction: Direction,
    ) -> None:
        self._context = context
        self._inspector = inspector
        self._owner: GateOwner | None = owner
        self._splitter = splitter
        self._kind = kind
        self._direction = direction
        self._sequence = 0
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._out: list[bytes] = []
        self._pace = Pace(context.turns, self._advance)
        self._timer = Watchdog(context.clock, self._timed_out)
        self._timed: _Waiting | None = None
        self._claim: Claim | None = None
        self._memory_timer = Watchdog(context.clock, self._out_of_memory)
        self._fault: EgressError | None = None
        self._at_end: Callable[[], None] | None = None
        self._working = self._slow_receiver = self._paused = False
        self._drained = True

    @property
    def wants_more(self) -> bool:
        """Whether the gate can take more bytes."""
        if self._pace.queued or self._slow_receiver or self._fault is not None or len(self._queue) >= MAX_WAITING:
            return False
        return self._claim is None or self._claim.granted

    @property
    def idle(self) -> bool:
        """Whether there is nothing to forward."""
        return self._owner is None or (self._drained and not self._queue)

    def receive(self, data: bytes) -> None:
        """Take bytes from the source."""
        if self._owner is not None and self._fault is None:
            self._drained = False
            self._splitter.receive(data)
            self._advance()

    def end(self, then: Callable[[], None]) -> None:
        """Handle the end of the source: call C{then} after everything was forwarded."""
        self._splitter.receive_end()
        self.drain(then)

    def drain(self, then: Callable[[], None]) -> None:
        """Handle the loss of the source: call C{then} after all complete messages were forwarded."""
        if self._owner is not None:
            self._drained = False
            self._at_end = then
            self._advance()

    def hold(self) -> None:
        """Forward nothing for now: the receiver is slow."""
        self._slow_receiver = True
        if not self._working:
            self._update_source()

    def release(self) -> None:
        """Forward again."""
        self._slow_receiver = False
        self._advance()

    def stop(self) -> None:
        """End the gate: cancel pending decisions, and release all memory."""
        self._owner = None
        self._at_end = None
        self._timer.stop()
        self._memory_timer.stop()
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.end()
        queue, self._queue = self._queue, deque()
        for waiting in queue:
            if waiting.call is not None:
                waiting.call.cancel()

    # -- work

    def _advance(self) -> None:
        """Split, authorize and forward as much as possible."""
        if self._working or self._owner is None:
            return
        self._working = True
        try:
            self._forward_ready()
            self._split()
        finally:
            self._working = False
        out, self._out = self._out, []
        if out:
            # This can pause, release or stop the gate.
            self._owner.forward(out[0] if len(out) == 1 else b"".join(out))
        if not self._ended():
            self._watch()
            self._update_memory()
            self._update_source()

    def _split(self) -> None:
        spent = 0
        try:
            while self.wants_more:
                if spent >= TURN:
                    self._pace.wait(self._inspector.client, None)
                    return
                piece = self._splitter.next_piece()
                if piece is None:
                    self._drained = True
                    return
                spent += 1 + len(piece.content) // _UNIT
                self._take(piece)
                self._forward_ready()
        except EgressError as error:
            # Complete messages before the fault are still forwarded.
            self._fault = error

    def _take(self, piece: Piece) -> None:
        if piece.type is None:
            if piece.overtakes:
                self._out.append(piece.data)
            else:
                self._enqueue(_Waiting(piece.data, None))
            return
        self._sequence += 1
        request = self._inspector.request(piece, self._kind, self._direction, self._sequence)
        call = self._inspector.authorize(request)
        decision = call.result if call.called and not call.paused else None
        if isinstance(decision, Decision) and decision.allowed and not self._queue:
            # The usual case with the embedded policy.
            self._inspector.forwarded(request, decision)
            self._out.append(piece.data)
            return
        waiting = _Waiting(piece.data, request)
        self._enqueue(waiting)
        waiting.call = call
        call.addCallbacks(self._decided, self._undecided, callbackArgs=(waiting,), errbackArgs=(waiting,))

    def _enqueue(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._queued += waiting.size

    def _decided(self, decision: Decision, waiting: _Waiting) -> None:
        waiting.call, waiting.decision = None, decision
        if not decision.allowed:
            waiting.error = MessageDenied(decision)
        self._advance()

    def _undecided(self, failure: Failure, waiting: _Waiting) -> None:
        error = failure.value
        assert isinstance(error, EgressError)
        waiting.call = None
        if waiting.error is None:
            waiting.error = error
            self._advance()

    def _forward_ready(self) -> None:
        queue = self._queue
        while queue and not self._slow_receiver:
            first = queue[0]
            if first.error is not None or first.pending:
                return
            queue.popleft()
            self._queued -= first.size
            if first.request is not None and first.decision is not None:
                self._inspector.forwarded(first.request, first.decision)
            self._out.append(first.data)

    # -- end

    def _ended(self) -> bool:
        """End the gate if there is nothing more to forward, or the next message is not forwarded."""
        owner = self._owner
        if owner is None:
            return True
        if self._queue:
            first = self._queue[0]
            if first.error is None:
                return False
            assert first.request is not None
            self._inspector.refused(first.request, first.decision, first.error)
            self.stop()
            owner.messages_failed(first.error)
            return True
        if self._fault is not None:
            self._inspector.rejected(self._kind, self._direction)
            self.stop()
            owner.messages_failed(self._fault)
            return True
        then = self._at_end
        if then is None or not self._drained or self._slow_receiver:
            return False
        self.stop()
        then()
        return True

    def _timed_out(self) -> None:
        first = self._queue[0]
        call, first.call = first.call, None
        first.error = AuthorizerUnavailable(
            f"the authorizer did not decide on a message within {self._inspector.timeout:g} s"
        )
        if call is not None:
            call.cancel()
        self._advance()

    def _watch(self) -> None:
        """Limit the time for which the first message waits."""
        first = self._queue[0] if self._queue else None
        if first is None or not first.pending:
            self._timed = None
            self._timer.clear()
        elif first is not self._timed:
            self._timed = first
            self._timer.set(self._inspector.timeout)

    # -- memory and backpressure

    def _update_memory(self) -> None:
        """Claim memory for buffered bytes, beyond a small amount."""
        held, memory, claim = self._splitter.held + self._queued, self._context.contents, self._claim
        if held <= FREE:
            if claim is not None:
                claim.end()
                self._claim = None
                self._memory_timer.clear()
            return
        wanted = min(1 << held.bit_length(), memory.total)
        if claim is None:
            self._claim = claim = memory.claim(self._inspector.client, wanted, self._granted)
        elif wanted > claim.wanted:
            claim.grow(wanted)
        else:
            return
        if not claim.granted:
            self._memory_timer.set(self._context.limits.body_timeout)

    def _granted(self) -> None:
        self._memory_timer.clear()
        self._advance()

    def _out_of_memory(self) -> None:
        if self._fault is None:
            self._fault = ContentMemoryExhausted(
                "the content of other requests uses all memory for content (--body-memory); try again"
            )
            self._advance()

    def _update_source(self) -> None:
        owner, full = self._owner, not self.wants_more
        if owner is None or full is self._paused:
            return
        self._paused = full
        if full:
            owner.pause_source()
        else:
            owner.resume_source()
