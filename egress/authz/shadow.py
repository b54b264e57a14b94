"""A second decider that is asked the same questions, without any effect."""

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

AT_ONCE: Final = 32
"""How many questions are with the second decider at the same time."""

_MAY_WAIT: Final = 256
# Content that is kept for questions which wait, or are under way, in bytes: they outlive the request itself.
_MAY_KEEP: Final = 16 * 1024 * 1024
# Questions put in one turn of the reactor: rules answer at once, and the clients' sockets are not to wait for them.
_IN_ONE_TURN: Final = 32


class ShadowedAuthorizer(Wrapper):
    """Asks an authorizer, gives its decision, and in a later turn asks the second decider.

    The second never costs the first any time, and nothing that it does or leaves undone is seen by clients: beyond so
    many questions that it has, or that wait for it, it is not asked.  Where the first gives no decision, or is asked
    again with content or addresses, there is nothing to compare with yet.

    @param shadow: fails with L{egress.model.errors.AuthorizerUnavailable} alone, and within a time, as an
        L{egress.authz.fail_closed.FailClosedAuthorizer} does.
    @param sink: is told of each comparison.
    @param observing: whether an L{ObservingAuthorizer<egress.authz.observe.ObservingAuthorizer>} asks.
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
        self._under_way: set[Deferred[Decision]] = set()
        self._kept = 0
        self._turn: IDelayedCall | None = None
        self._closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""

        def decided(decision: Decision) -> Decision:
            again = decision.verdict in NEEDS or (
                self._observing and request.addresses_withheld and lets_pass(decision)
            )
            if not again and not self._closed:
                self._queue(request, decision)
            return decision

        return self._authorizer.decide(request).addCallback(decided)

    def _queue(self, request: DecisionRequest, decision: Decision) -> None:
        size = _size(request)
        if len(self._waiting) >= _MAY_WAIT or self._kept + size > _MAY_KEEP:
            self._sink.write(ShadowComparison(request, decision, None, ShadowResult.SKIPPED))
            return
        self._kept += size
        self._waiting.append((request, decision))
        self._go_on()

    def _go_on(self) -> None:
        if self._turn is None and self._waiting and len(self._under_way) < AT_ONCE:
            self._turn = self._clock.callLater(0, self._put_some)

    def _put_some(self) -> None:
        self._turn = None
        for _ in range(_IN_ONE_TURN):
            if not self._waiting or len(self._under_way) >= AT_ONCE:
                break
            self._put(*self._waiting.popleft())
        self._go_on()

    def _put(self, request: DecisionRequest, first: Decision) -> None:
        def answered(second: Decision) -> None:
            told(second, compare(first, second))

        def told(second: Decision | None, agreement: ShadowResult) -> None:
            if not self._closed:
                self._sink.write(ShadowComparison(request, first, second, agreement))

        def over(_: object) -> None:
            self._under_way.discard(asked)
            self._kept -= _size(request)
            if not self._closed:
                self._go_on()

        asked: Deferred[Decision] = maybeDeferred(self._shadow.decide, request)
        self._under_way.add(asked)
        ended = asked.addCallback(answered).addErrback(lambda _: told(None, ShadowResult.UNAVAILABLE))
        ended.addBoth(over)

    def close(self) -> Deferred[None]:
        """Give up what the second was asked, and let go of both."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._waiting.clear()
        for asked in list(self._under_way):
            cancel(asked)
        self._sink.close()
        # However the second ends is of no interest.
        gone = maybeDeferred(self._shadow.close).addErrback(lambda _: None)
        return gone.addCallback(lambda _: self._authorizer.close())


def _size(request: DecisionRequest) -> int:
    return 0 if request.body is None else len(request.body)
