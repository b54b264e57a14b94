"""Tests for L{egress.console.live_feed}."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.console.live_feed import MAX_VIEWERS, ROWS, TICK, LiveFeed, parse_seq
from egress.console.reads import StoreReads
from egress.store.filter_language import parse_filter
from egress.store.interfaces import StoreError
from tests.console.browser import in_thread, record


class Sink:
    """A browser."""

    def __init__(self) -> None:
        self.is_writable = True
        self.events: list[tuple[str, Any]] = []
        self.ended = False

    def send(self, event: str, data: str) -> None:
        self.events.append((event, json.loads(data) if data else None))

    def end(self) -> None:
        self.ended = True
        self.is_writable = False

    def take(self) -> list[tuple[str, Any]]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def rows(self) -> list[str]:
        """Return the ids of the rows since the last call."""
        return [row["id"] for _, data in self.take() for row in data["rows"]]


class Store:
    """A store whose filters match every record with an even number, or all."""

    def __init__(self) -> None:
        self.seq = 0
        self.reads: list[tuple[Any, int]] = []
        self.error: Exception | None = None

    def last_seq(self) -> int:
        if self.error is not None:
            raise self.error
        return self.seq

    def written_after(self, given: Any, seq: int) -> Any:
        self.reads.append((given, seq))
        if any(condition.field == "node" for condition in given.conditions):
            raise StoreError("a.db: node: and worker: need an audit store in PostgreSQL")
        last = min(self.seq, seq + 1000)
        numbers = range(seq + 1, last + 1)
        return last, [record(requestId=str(each)) for each in numbers if not given.texts or each % 2 == 0]


class FeedTests(SynchronousTestCase):
    """New records reach the browsers that follow."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store: Any = Store()
        self.offload: Any = in_thread
        reads = StoreReads(lambda: self.store, lambda call: self.offload(call))
        self.feed = LiveFeed(self.clock, reads)
        self.alive = True

    def join(self, text: str = "", after: int | None = None) -> tuple[Sink, Callable[[], None]]:
        sink = Sink()
        leave = self.feed.join(sink, text, parse_filter(text, 0), after, lambda: self.alive)
        return sink, leave

    def write(self, number: int = 1) -> None:
        self.store.seq += number
        self.clock.advance(TICK)

    def test_rows(self) -> None:
        self.store.seq = 7
        sink, _ = self.join()
        self.assertEqual(sink.take(), [])
        self.write(2)
        ((event, data),) = sink.take()
        self.assertEqual((event, data["seq"], data["more"]), ("rows", 9, 0))
        self.assertEqual([row["id"] for row in data["rows"]], ["8", "9"])
        self.assertEqual(data["rows"][0]["link"], "/console/requests/8")
        self.clock.advance(TICK)
        self.assertEqual(sink.take(), [])

    def test_after(self) -> None:
        """A browser continues after the last record that it has."""
        self.store.seq = 7
        sink, _ = self.join(after=5)
        self.assertEqual(sink.rows(), ["6", "7"])
        later, _ = self.join(after=9)
        self.write()
        self.assertEqual((sink.rows(), later.take()), (["8"], []))

    def test_filters(self) -> None:
        (all_of, _), (some, _), (same, _) = self.join(), self.join("x"), self.join("x")
        self.clock.advance(TICK)
        self.store.reads.clear()
        self.write(4)
        self.assertEqual((all_of.rows(), some.rows(), same.rows()), (["1", "2", "3", "4"], ["2", "4"], ["2", "4"]))
        # Browsers with the same filter share a read.
        self.assertEqual(len(self.store.reads), 2)

    def test_a_filter_that_cannot_be_read(self) -> None:
        """The other browsers are not affected, and the filter is read again after some time."""
        (wrong, _), (right, _) = self.join("node:a"), self.join()
        self.clock.advance(TICK)
        self.write()
        self.write()
        ((event, data),) = wrong.take()
        self.assertEqual(event, "fault")
        self.assertIn("need an audit store in PostgreSQL", data["text"])
        self.assertEqual(right.rows(), ["1", "2"])
        self.clock.pump([TICK] * 8)
        self.assertEqual([event for event, _ in wrong.take()], ["fault"])
        self.write()
        self.assertEqual(right.rows(), ["3"])

    def test_nobody_follows(self) -> None:
        """Without a browser, nothing runs."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        _, leave = self.join()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        leave()
        leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        sink, _ = self.join()
        self.write()
        self.assertEqual(sink.rows(), ["1"])

    def test_leaving_during_a_read(self) -> None:
        begun: list[tuple[Any, Any]] = []

        def later(call: Any) -> Any:
            done: Deferred[Any] = Deferred()
            begun.append((call, done))
            return done

        self.offload = later
        _, leave = self.join()
        # Joining during a read begins no other read.
        other, _ = self.join()
        leave()
        (call, done) = begun.pop()
        self.assertEqual(begun, [])
        done.callback(call())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.offload = in_thread
        self.clock.advance(TICK)
        self.write()
        self.assertEqual(other.rows(), ["1"])

    def test_many_records(self) -> None:
        """At most 100 rows are sent at a time, and at most 1,000 records are examined."""
        sink, _ = self.join()
        self.write(5000)
        ((_, data),) = sink.take()
        self.assertEqual((len(data["rows"]), data["more"], data["seq"]), (ROWS, 4900, 5000))
        self.assertEqual(data["rows"][-1]["id"], "5000")

    def test_slow_browser(self) -> None:
        """Rows for a browser that receives nothing are counted, not stored; then its stream ends."""
        sink, _ = self.join()
        sink.is_writable = False
        self.write(3)
        self.write(2)
        self.assertEqual(sink.take(), [])
        sink.is_writable = True
        self.write(1)
        ((_, data),) = sink.take()
        self.assertEqual(([row["id"] for row in data["rows"]], data["more"]), (["6"], 5))
        sink.is_writable = False
        self.clock.pump([TICK] * 119)
        self.assertFalse(sink.ended)
        self.clock.pump([TICK] * 2)
        self.assertTrue(sink.ended)

    def test_ping(self) -> None:
        """A connection that is lost is noticed."""
        sink, _ = self.join()
        self.clock.pump([TICK] * 61)
        self.assertEqual(sink.take(), [("ping", None)])

    def test_end_of_a_session(self) -> None:
        sink, leave = self.join()
        self.alive = False
        self.write()
        self.assertEqual((sink.events[0], sink.ended), (("ended", None), True))
        leave()

    def test_store_that_fails(self) -> None:
        sink, _ = self.join()
        self.store.error = StoreError("gone")
        self.write()
        self.assertEqual(sink.take(), [("fault", {"text": "gone"})])
        self.store.error = None
        self.clock.advance(2)
        self.assertEqual(sink.rows(), ["1"])

    def test_other_failures(self) -> None:
        """They are logged, and the feed continues."""
        sink, _ = self.join()
        self.store.error = ValueError("bug")
        self.write()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.store.error = None
        self.clock.advance(2)
        self.assertEqual(sink.rows(), ["1"])

    def test_limit(self) -> None:
        joined = [self.join() for _ in range(MAX_VIEWERS)]
        self.assertTrue(self.feed.is_full)
        joined[0][1]()
        self.assertFalse(self.feed.is_full)

    def test_numbers_of_records(self) -> None:
        for text, expected in (("", None), ("12", 12), ("-1", None), ("1e3", None), ("9" * 19, None), ("²", None)):
            with self.subTest(text):
                self.assertEqual(parse_seq(text), expected)
