"""The delivery of messages to one target: a bounded queue, one message at a time, with retries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.notify.backoff import Pace, Result, final_result, retry_delay

MAX_MESSAGES: Final = 256
MAX_BYTES: Final = 1024 * 1024
# Seconds for one attempt, from connecting to the last byte of the response.
ATTEMPT_SECONDS: Final = 10.0
# The maximum age of a message, in seconds.
MAX_AGE: Final = 3600.0
# The maximum number of responses with an error of the server to one message: the message can be the cause.
MAX_RESPONSES: Final = 10
# The number of messages without a delay, and the seconds between two messages after that.
BURST: Final = 20
SECONDS_PER_MESSAGE: Final = 2.0
_LOG_EVERY: Final = 60.0

_log = Logger()


@attrs.frozen
class Response:
    """The response of a receiver.

    @ivar status: its status code.
    @ivar retry_after: the seconds after which the receiver accepts another attempt, if it says so.
    """

    status: int
    retry_after: float | None = None


@attrs.define(eq=False)
class Parcel:
    """An encoded message.

    @ivar message_id: the id, which is equal in all attempts.
    @ivar body: the content.
    @ivar finished: is called once, with the result.
    @ivar expires: the age in seconds after which it is useless.
    @ivar queued: when it was queued, in seconds.
    @ivar attempts: the number of attempts.
    @ivar responses: the number of responses with an error of the server.
    """

    message_id: str
    body: bytes
    finished: Callable[[Result], object]
    expires: float = MAX_AGE
    queued: float = attrs.field(default=0.0, init=False)
    attempts: int = attrs.field(default=0, init=False)
    responses: int = attrs.field(default=0, init=False)


Send = Callable[[Parcel], Deferred[Response]]
"""Sends a message once.  The Deferred fails if there is no response, and may be cancelled."""


class Delivery:
    """Delivers messages to one target.

    The oldest message is sent first.  If the target does not accept it for now, all messages wait.  When the queue is
    full, the oldest message that is not being sent is dropped.

    @param clock: schedules attempts and their timeout.
    @param target: the name of the target in the log.
    @param send: sends a message once.
    @param explain: describes why there was no response, without the URL.
    @param jitter: returns a number from 0 to 1.
    """

    def __init__(
        self,
        clock: IReactorTime,
        target: str,
        send: Send,
        *,
        explain: Callable[[Failure], str],
        jitter: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._target = target
        self._send = send
        self._explain = explain
        self._jitter = jitter
        self._queue: deque[Parcel] = deque()
        self._bytes = 0
        self._pace = Pace(BURST, SECONDS_PER_MESSAGE)
        self._sending: Deferred[Response] | None = None
        self._timer: IDelayedCall | None = None
        self._logged: float | None = None
        self._closed: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """The number of messages that are not delivered yet."""
        return len(self._queue)

    def enqueue(self, parcel: Parcel) -> None:
        """Deliver a message, after the earlier ones."""
        if self._closed is not None:
            parcel.finished(Result.DROPPED)
            return
        parcel.queued = self._clock.seconds()
        self._queue.append(parcel)
        self._bytes += len(parcel.body)
        while len(self._queue) > MAX_MESSAGES or (self._bytes > MAX_BYTES and len(self._queue) > 1):
            oldest = self._queue[1] if self._sending is not None else self._queue[0]
            self._log_sometimes("the queue is full")
            self._finish(oldest, Result.DROPPED)
        self._next()

    def _finish(self, parcel: Parcel, result: Result) -> None:
        self._queue.remove(parcel)
        self._bytes -= len(parcel.body)
        parcel.finished(result)

    def _next(self) -> None:
        """Send the first message, unless a message is being sent or has to wait."""
        if self._sending is not None or self._timer is not None:
            return
        now = self._clock.seconds()
        while self._queue and now - self._queue[0].queued >= self._queue[0].expires:
            self._log_sometimes("messages were not accepted in time")
            self._finish(self._queue[0], Result.EXPIRED)
        if not self._queue:
            self._finish_closing()
            return
        wait = 0.0 if self._closed is not None else self._pace.take(now)
        if wait > 0.0:
            self._wait(wait)
            return
        self._attempt(self._queue[0])

    def _wait(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._waited)

    def _waited(self) -> None:
        self._timer = None
        self._next()

    def _attempt(self, parcel: Parcel) -> None:
        parcel.attempts += 1
        sending = maybeDeferred(self._send, parcel).addTimeout(ATTEMPT_SECONDS, self._clock)
        # If there is a response already, the next message is sent before this call returns.
        self._sending = sending
        sending.addCallbacks(self._responded, self._failed, callbackArgs=(parcel,), errbackArgs=(parcel,))
        sending.addErrback(lambda failure: _log.failure("delivering a notification failed", failure))

    def _responded(self, response: Response, parcel: Parcel) -> None:
        self._sending = None
        result = final_result(response.status)
        if result is Result.DELIVERED:
            if parcel.attempts > 1:
                _log.info("notifications are delivered to {target} again", target=self._target)
                self._logged = None
        elif result is not None:
            _log.error(
                "a notification was rejected by {target} with status {status}: check the URL and the secret",
                target=self._target,
                status=response.status,
            )
        else:
            parcel.responses += 1
            if parcel.responses < MAX_RESPONSES:
                self._retry(parcel, f"the status is {response.status}", response.retry_after)
                return
            self._log_sometimes(f"the status is {response.status}")
            result = Result.EXPIRED
        self._finish(parcel, result)
        self._next()

    def _failed(self, failure: Failure, parcel: Parcel) -> None:
        if self._sending is None:
            # The proxy stops.
            return
        self._sending = None
        self._retry(parcel, self._explain(failure), None)

    def _retry(self, parcel: Parcel, why: str, retry_after: float | None) -> None:
        if self._closed is not None:
            # There is no time for another attempt.
            self._drop_all()
            return
        self._log_sometimes(why)
        self._wait(retry_delay(parcel.attempts, self._jitter(), retry_after))

    def _log_sometimes(self, why: str) -> None:
        now = self._clock.seconds()
        if self._logged is None or now - self._logged >= _LOG_EVERY:
            self._logged = now
            _log.warn(
                "notifications for {target} are not delivered: {why}; {number} wait",
                target=self._target,
                why=why,
                number=len(self._queue),
            )

    # -- the end

    def close(self, seconds: float) -> Deferred[None]:
        """Deliver the messages that wait, without retries, and drop the rest when the time is over.

        @param seconds: the time for it.
        @return: fires when no message waits.
        """
        closed: Deferred[None] = Deferred()
        self._closed = closed
        failing = self._timer is not None and bool(self._queue) and self._queue[0].attempts > 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if failing:
            self._drop_all()
            return closed
        self._deadline = self._clock.callLater(seconds, self._drop_all)
        self._next()
        return closed

    def _drop_all(self) -> None:
        dropped = len(self._queue)
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
        if dropped:
            _log.warn(
                "{number} notifications for {target} are dropped: the proxy stops, or no longer uses the webhook",
                number=dropped,
                target=self._target,
            )
        while self._queue:
            self._finish(self._queue[0], Result.DROPPED)
        self._finish_closing()

    def _finish_closing(self) -> None:
        if self._closed is None or self._closed.called:
            return
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._closed.callback(None)
