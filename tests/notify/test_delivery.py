"""Tests for L{egress.notify.delivery}."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.notify.backoff import Result
from egress.notify.delivery import (
    ATTEMPT_SECONDS,
    BURST,
    MAX_AGE,
    MAX_BYTES,
    MAX_MESSAGES,
    MAX_RESPONSES,
    SECONDS_PER_MESSAGE,
    Delivery,
    Parcel,
    Response,
)


class DeliveryTestCase(SynchronousTestCase):
    """Base: a delivery whose receiver a test controls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[tuple[float, str]] = []
        self.waiting: list[Deferred[Response]] = []
        self.cancelled = 0
        self.answer: Response | Exception | None = Response(204)
        self.results: dict[str, Result] = {}
        self.delivery = Delivery(
            self.clock,
            "https://hooks.test",
            self.send,
            explain=lambda failure: type(failure.value).__name__,
            jitter=lambda: 1.0,
        )

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(self, parcel: Parcel) -> Deferred[Response]:
        self.sent.append((self.clock.seconds(), parcel.message_id))
        if isinstance(self.answer, Response):
            return succeed(self.answer)
        if self.answer is not None:
            return fail(self.answer)
        waiting: Deferred[Response] = Deferred(self.cancel)
        self.waiting.append(waiting)
        return waiting

    def cancel(self, _: object) -> None:
        self.cancelled += 1

    def enqueue(self, *names: str, size: int = 10, expires: float = MAX_AGE) -> None:
        for name in names:

            def finished(result: Result, name: str = name) -> None:
                self.assertNotIn(name, self.results)
                self.results[name] = result

            self.delivery.enqueue(Parcel(name, b"x" * size, finished, expires))

    def times(self, name: str) -> list[float]:
        return [time for time, each in self.sent if each == name]

    def pass_time(self, seconds: float) -> None:
        end = self.clock.seconds() + seconds
        while due := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]:
            self.clock.advance(max(0.0, min(due) - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())


class DeliveringTests(DeliveryTestCase):
    """Messages are delivered in order, one at a time."""

    def test_delivered(self) -> None:
        with capturedLogs() as events:
            self.enqueue("a", "b")
        self.assertEqual(self.sent, [(0.0, "a"), (0.0, "b")])
        self.assertEqual(self.results, {"a": Result.DELIVERED, "b": Result.DELIVERED})
        self.assertEqual((self.delivery.waiting, events), (0, []))

    def test_one_at_a_time(self) -> None:
        self.answer = None
        self.enqueue("a", "b", "c")
        self.assertEqual(self.sent, [(0.0, "a")])
        self.waiting[0].callback(Response(200))
        self.assertEqual(self.sent, [(0.0, "a"), (0.0, "b")])
        self.waiting[1].callback(Response(200))
        self.waiting[2].callback(Response(200))
        self.assertEqual(list(self.results), ["a", "b", "c"])

    def test_pace(self) -> None:
        """After a burst, messages are sent at a limited rate."""
        self.enqueue(*map(str, range(BURST + 3)))
        self.assertEqual(len(self.sent), BURST)
        self.pass_time(SECONDS_PER_MESSAGE)
        self.assertEqual(len(self.sent), BURST + 1)
        self.pass_time(2 * SECONDS_PER_MESSAGE)
        self.assertEqual((len(self.sent), self.delivery.waiting), (BURST + 3, 0))


class RetryTests(DeliveryTestCase):
    """A message that is not accepted for now is sent again."""

    def test_receiver_down_then_back(self) -> None:
        self.answer = ConnectRefused()
        with capturedLogs() as events:
            self.enqueue("a", "b")
            self.pass_time(7.5)
            self.assertEqual(self.times("a"), [0.0, 1.0, 3.0, 7.0])
            self.assertEqual((self.times("b"), self.results), ([], {}))
            self.answer = Response(200)
            self.pass_time(8.0)
        self.assertEqual(self.results, {"a": Result.DELIVERED, "b": Result.DELIVERED})
        # One line when it begins, and one when it ends.
        levels = [event["log_level"].name for event in events]
        self.assertEqual(levels, ["warn", "info"])
        self.assertEqual((events[0]["why"], events[0]["target"]), ("ConnectionRefusedError", "https://hooks.test"))

    def test_retry_after(self) -> None:
        self.answer = Response(429, 30.0)
        self.enqueue("a")
        self.answer = Response(200)
        self.pass_time(29.0)
        self.assertEqual(len(self.sent), 1)
        self.pass_time(1.0)
        self.assertEqual(self.results, {"a": Result.DELIVERED})

    def test_no_response(self) -> None:
        self.answer = None
        self.enqueue("a")
        self.pass_time(ATTEMPT_SECONDS)
        self.assertEqual((self.cancelled, self.results), (1, {}))
        self.answer = Response(200)
        self.pass_time(1.0)
        self.assertEqual(self.times("a"), [0.0, ATTEMPT_SECONDS + 1.0])

    def test_rejected(self) -> None:
        """A response that another attempt would not change is logged, and the message is dropped."""
        self.answer = Response(401)
        with capturedLogs() as events:
            self.enqueue("a")
        self.assertEqual(self.results, {"a": Result.REJECTED})
        (event,) = events
        self.assertEqual((event["log_level"].name, event["status"]), ("error", 401))

    def test_a_message_that_the_receiver_cannot_process(self) -> None:
        """One message for which the receiver always fails does not stop the others forever."""
        self.answer = Response(500)
        self.enqueue("a", "b")
        self.pass_time(250.0)
        self.assertEqual(len(self.times("a")), MAX_RESPONSES)
        self.assertEqual(self.results["a"], Result.EXPIRED)
        self.answer = Response(200)
        self.pass_time(100.0)
        self.assertEqual(self.results["b"], Result.DELIVERED)

    def test_age(self) -> None:
        self.answer = ConnectRefused()
        self.enqueue("a")
        self.enqueue("b", expires=100.0)
        self.pass_time(MAX_AGE + 61.0)
        self.assertEqual(self.results, {"a": Result.EXPIRED, "b": Result.EXPIRED})
        self.assertLess(max(self.times("a")), MAX_AGE)
        self.assertEqual(self.times("b"), [])

    def test_log_lines_are_few(self) -> None:
        self.answer = ConnectRefused()
        with capturedLogs() as events:
            self.enqueue("a")
            self.pass_time(601.0)
        self.assertLess(len(events), 12)
        self.assertGreater(len(events), 5)
        self.answer = Response(200)
        self.pass_time(60.0)

    def test_a_fault_of_the_client(self) -> None:
        """An exception while a message is sent counts as a failed attempt."""
        self.answer = ZeroDivisionError()
        self.enqueue("a")
        self.answer = Response(200)
        self.pass_time(1.0)
        self.assertEqual(self.results, {"a": Result.DELIVERED})


class QueueTests(DeliveryTestCase):
    """The queue is limited; the oldest messages that are not being sent are dropped."""

    def test_number(self) -> None:
        self.answer = None
        names = [str(n) for n in range(MAX_MESSAGES + 2)]
        self.enqueue(*names)
        self.assertEqual(self.results, {"1": Result.DROPPED, "2": Result.DROPPED})
        self.assertEqual(self.delivery.waiting, MAX_MESSAGES)
        self.delivery.close(0.0)
        self.pass_time(0.0)
        self.assertEqual(set(self.results), set(names))

    def test_number_while_waiting(self) -> None:
        self.answer = ConnectRefused()
        self.enqueue(*[str(n) for n in range(MAX_MESSAGES + 1)])
        self.assertEqual(self.results, {"0": Result.DROPPED})
        self.answer = Response(200)
        self.pass_time(1.0 + MAX_MESSAGES * SECONDS_PER_MESSAGE)
        self.assertEqual(len(self.results), MAX_MESSAGES + 1)

    def test_bytes(self) -> None:
        self.answer = None
        self.enqueue("a", "b", "c", size=MAX_BYTES // 3)
        self.assertEqual(self.results, {})
        self.enqueue("d", size=MAX_BYTES // 3)
        self.assertEqual(self.results, {"b": Result.DROPPED})
        for waiting in list(self.waiting):
            waiting.callback(Response(200))
        self.answer = Response(200)
        self.waiting[-1].callback(Response(200))
        # A message that is larger than the limit is sent if nothing else waits.
        self.enqueue("e", size=2 * MAX_BYTES)
        self.assertEqual(self.results, {**dict.fromkeys("acde", Result.DELIVERED), "b": Result.DROPPED})


class ClosingTests(DeliveryTestCase):
    """A stop takes a limited time."""

    def test_nothing_waits(self) -> None:
        self.successResultOf(self.delivery.close(1.0))
        self.enqueue("a")
        self.assertEqual((self.results, self.sent), ({"a": Result.DROPPED}, []))

    def test_the_rest_is_sent(self) -> None:
        """The messages that wait only for the pace are sent."""
        names = [str(n) for n in range(BURST + 5)]
        self.enqueue(*names)
        self.successResultOf(self.delivery.close(1.0))
        self.assertEqual(self.results, dict.fromkeys(names, Result.DELIVERED))

    def test_a_response_in_time(self) -> None:
        self.answer = None
        self.enqueue("a", "b")
        closed = self.delivery.close(1.0)
        self.assertNoResult(closed)
        self.pass_time(0.5)
        self.waiting[0].callback(Response(200))
        self.waiting[1].callback(Response(200))
        self.successResultOf(closed)
        self.assertEqual(self.results, {"a": Result.DELIVERED, "b": Result.DELIVERED})

    def test_hanging_receiver(self) -> None:
        self.answer = None
        self.enqueue("a", "b")
        closed = self.delivery.close(1.0)
        with capturedLogs() as events:
            self.pass_time(1.0)
        self.successResultOf(closed)
        self.assertEqual((self.cancelled, self.results), (1, {"a": Result.DROPPED, "b": Result.DROPPED}))
        self.assertEqual([event["number"] for event in events], [2])

    def test_no_retries(self) -> None:
        self.answer = None
        self.enqueue("a", "b")
        closed = self.delivery.close(1.0)
        self.waiting[0].errback(Failure(ConnectRefused()))
        self.successResultOf(closed)
        self.assertEqual(self.results, {"a": Result.DROPPED, "b": Result.DROPPED})

    def test_while_a_retry_waits(self) -> None:
        """A receiver that is down does not delay the stop."""
        self.answer = ConnectRefused()
        self.enqueue("a", "b")
        self.successResultOf(self.delivery.close(1.0))
        self.assertEqual(self.results, {"a": Result.DROPPED, "b": Result.DROPPED})
        self.assertEqual(self.sent, [(0.0, "a")])
