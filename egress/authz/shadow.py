"""Shadow decisions: a second authorizer decides on the same requests, without any effect."""

from __future__ import annotations

from collections import deque
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from egress.authz.fail_closed import cancel
from egress.authz.observe import lets_pass
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer, IShadowSink
from egress.model.comparison import ShadowComparison, ShadowResult, compare
from egress.model.decision import NEEDS, Decision, DecisionRequest

MAX_CONCURRENCY: Final = 32
"""The concurrency limit of the shadow authorizer."""

_MAX_QUEUE: Final = 256
# The limit of the content of requests in the queue and in progress, in bytes: they outlive the exchange itself.
_MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
# Requests to forward in one turn of the reactor: rules decide immediately, and must not delay the sockets of clients.
_MAX_PER_TURN: Final = 32


class ShadowedAuthorizer(Wrapper):
    """Calls an authorizer, returns its decision, and calls the shadow authorizer in a later turn of the reactor.

    The shadow authorizer never delays a decision, and clients see no effect of it: beyond its concurrency limit and its
    queue, it is not called.  If the first authorizer makes no decision, or is called again with the content or the
    addresses, there is nothing to compare yet.  Messages are not compared: only the authorizer that allowed an exchange
    can decide on its messages.

    @param shadow: fails only with L{egress.model.errors.AuthorizerUnavailable}, and within a deadline, as an
        L{egress.authz.fail_closed.FailClosedAuthorizer} does.
    @param sink: receives each comparison.
    @param observing: whether an L{ObservingAuthorizer<egress.authz.observe.ObservingAuthorizer>} calls this one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        shadow: IAuthorizer,
        sink: IShadowSink,
        observing: bool = False,
    ) -> None:
        super().__init__(authorizer)
        self._observing = observing
        self._clock = clock
        self._shadow = shadow
        self._sink = sink
        self._waiting: deque[tuple[DecisionRequest, Decision]] = deque()
        self._in_flight: set[Deferred[Decision]] = set()
        self._queued_bytes = 0
        self._turn: IDelayedCall | None = None
        self._closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request, and queue it for the shadow authorizer; see L{IAuthorizer.decide}."""

        def on_decision(decision: Decision) -> Decision:
            undecided = (
                request.message is not None
                or decision.verdict in NEEDS
                or (self._observing and request.addresses_withheld and lets_pass(decision))
            )
            if not undecided and not self._closed:
                self._queue(request, decision)
            return decision

        return self._authorizer.decide(request).addCallback(on_decision)

    def _queue(self, request: DecisionRequest, decision: Decision) -> None:
        size = _size(request)
        if len(self._waiting) >= _MAX_QUEUE or self._queued_bytes + size > _MAX_QUEUED_BYTES:
            self._sink.write(ShadowComparison(request, decision, None, ShadowResult.SKIPPED))
            return
        self._queued_bytes += size
        self._waiting.append((request, decision))
        self._schedule()

    def _schedule(self) -> None:
        if self._turn is None and self._waiting and len(self._in_flight) < MAX_CONCURRENCY:
            self._turn = self._clock.callLater(0, self._forward_some)

    def _forward_some(self) -> None:
        self._turn = None
        for _ in range(_MAX_PER_TURN):
            if not self._waiting or len(self._in_flight) >= MAX_CONCURRENCY:
                break
            self._forward(*self._waiting.popleft())
        self._schedule()

    def _forward(self, request: DecisionRequest, first: Decision) -> None:
        def decided(second: Decision) -> None:
            report(second, compare(first, second))

        def report(second: Decision | None, result: ShadowResult) -> None:
            if not self._closed:
                self._sink.write(ShadowComparison(request, first, second, result))

        def finished(_: object) -> None:
            self._in_flight.discard(call)
            self._queued_bytes -= _size(request)
            if not self._closed:
                self._schedule()

        call: Deferred[Decision] = maybeDeferred(self._shadow.decide, request)
        self._in_flight.add(call)
        done = call.addCallback(decided).addErrback(lambda _: report(None, ShadowResult.UNAVAILABLE))
        done.addBoth(finished)

    def close(self) -> Deferred[None]:
        """Cancel the calls of the shadow authorizer, and close both authorizers."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._waiting.clear()
        for call in list(self._in_flight):
            cancel(call)
        self._sink.close()
        # A failure of the shadow authorizer at its end is ignored.
        closed = maybeDeferred(self._shadow.close).addErrback(lambda _: None)
        return closed.addCallback(lambda _: self._authorizer.close())


def _size(request: DecisionRequest) -> int:
    return 0 if request.body is None else len(request.body)
