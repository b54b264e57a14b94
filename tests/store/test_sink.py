"""Tests for L{egress.store.sink}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink
from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.model.statistics import SpoolStats
from egress.runtime.threads import Offload, Threads
from egress.store import sink as module
from egress.store.batches import BatchReport, Retention, SpoolReport, StoreBatches
from egress.store.destinations import Destinations, Page, Paths
from egress.store.filter_language import Filter
from egress.store.interfaces import IAuditStore, ISpooledStore, RuleUse, StoreError
from egress.store.record_codec import decode_entry
from egress.store.sink import StoreAudit
from egress.store.writer import ThreadWriter
from tests.observability.records import ALLOWED
from tests.threads import Later, ThreadlessReactor

NOW = 1_700_000_000.0


@implementer(IAuditStore)
class MemoryStore:
    """A store in memory.

    @ivar error: the error of the next calls.
    @ivar unstorable: the ids of records that cannot be stored.
    @ivar left: how often C{prune} has more to delete.
    """

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.checkpoint: str | None = None
        self.error: Exception | None = None
        self.unstorable: set[str] = set()
        self.pruned: list[tuple[float, int]] = []
        self.left = 0
        self.rolled_up = 0
        self.closed = False
        self.policies: list[PolicyUse] = []

    def record_policies(self, uses: Sequence[PolicyUse]) -> None:
        self.policies += uses

    def policy_uses(self, limit: int) -> list[PolicyUse]:
        raise NotImplementedError

    def policy_texts(self, digest: str) -> str | None:
        raise NotImplementedError

    def append(self, records: Sequence[ExchangeRecord]) -> None:
        if self.error is not None:
            raise self.error
        if any(record.request_id in self.unstorable for record in records):
            raise OverflowError("int too large")
        self.stored += [record.request_id for record in records if record.request_id not in self.stored]

    def prune(self, before: float, max_bytes: int) -> bool:
        self.pruned.append((before, max_bytes))
        self.left -= 1
        return self.left >= 0

    def search(self, given: Filter, limit: int | None, oldest_first: bool = False) -> Iterator[Mapping[str, Any]]:
        raise NotImplementedError

    def written_after(self, given: Filter, seq: int) -> tuple[int, list[Mapping[str, Any]]]:
        raise NotImplementedError

    def last_seq(self) -> int:
        raise NotImplementedError

    def statistics(self, given: Filter, top: int) -> Mapping[str, Any]:
        raise NotImplementedError

    def roll_up(self, now: float) -> bool:
        self.rolled_up += 1
        return self.rolled_up < 6

    def destinations(self, given: Filter, page: Page, now: float) -> Destinations:
        raise NotImplementedError

    def rule_uses(self, given: Filter) -> Mapping[str, RuleUse]:
        raise NotImplementedError

    def paths(self, host: str, given: Filter) -> Paths:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def sink_of(clock: Clock, offload: Offload, store: IAuditStore, *, rolls_up: bool = False) -> StoreAudit:
    """Return a sink that writes in a thread."""
    batches = StoreBatches(
        store, seconds=clock.seconds, now=lambda: NOW, retention=Retention(days=2, max_bytes=1000), rolls_up=rolls_up
    )
    return StoreAudit(clock, ThreadWriter(offload, batches))


class StoreAuditTests(SynchronousTestCase):
    """Records are written in batches, or wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.later = Later()
        self.sink = sink_of(self.clock, self.later, self.store)

    def write(self, *names: str) -> None:
        for name in names:
            self.sink.write(attrs.evolve(ALLOWED, request_id=name))

    def work(self) -> None:
        """Run the calls in the thread."""
        while self.later.begun:
            self.later.begun.pop(0)()

    def test_interfaces(self) -> None:
        verifyObject(IAuditSink, self.sink)
        verifyObject(IAuditStore, self.store)

    def test_policies(self) -> None:
        """The use of a policy is written with the next record: an idle proxy writes nothing."""
        use = PolicyUse(time=1.0, version="v", digest="d", source="s", texts="[]")
        self.sink.write_policy(use)
        self.clock.advance(60)
        self.assertEqual(self.later.begun, [])
        self.write("a")
        self.clock.advance(0.25)
        self.work()
        self.assertEqual((self.store.policies, self.store.stored), ([use], ["a"]))
        self.write("b")
        self.patch(module, "QUEUE", 1)
        self.sink.write_policy(use)
        self.clock.advance(0.25)
        self.work()
        self.assertEqual((len(self.store.policies), self.store.stored), (1, ["a", "b"]))

    def test_batches(self) -> None:
        self.write("a", "b")
        self.assertEqual((self.later.begun, self.sink.waiting), ([], 2))
        self.clock.advance(0.25)
        self.assertEqual(len(self.later.begun), 1)
        self.write("c")
        self.work()
        self.assertEqual(self.store.stored, ["a", "b"])
        self.assertEqual(self.sink.waiting, 1)
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(self.store.stored, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_records(self) -> None:
        """A full batch does not wait."""
        self.write(*map(str, range(2500)))
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(len(self.store.stored), 1000)
        self.clock.advance(0)
        self.work()
        self.assertEqual(len(self.store.stored), 2000)
        self.clock.advance(0)
        self.assertEqual(self.later.begun, [])
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(len(self.store.stored), 2500)

    def test_failure_and_recovery(self) -> None:
        self.store.error = StoreError("disk full")
        with capturedLogs() as events:
            self.write("a")
            self.clock.advance(0.25)
            self.work()
            self.write("b")
            for _ in range(3):
                self.clock.advance(1)
                self.work()
        self.assertEqual(len(events), 1, "at most once per minute")
        self.assertEqual((self.sink.fault, self.sink.lost), ("disk full", 0))
        self.assertEqual([(event["waiting"], event["lost"]) for event in events], [(1, 0)])
        self.store.error = None
        with capturedLogs() as events:
            self.clock.advance(1)
            self.work()
            self.write("c")
            self.clock.advance(1)
            self.work()
        self.assertEqual((self.sink.fault, self.store.stored), (None, ["a", "b", "c"]))
        self.assertEqual([event["lost"] for event in events], [0], "the end is logged once")

    def test_failure_until_the_end(self) -> None:
        """The final number of lost records is logged, also just after an earlier number."""
        self.store.error = StoreError("disk full")
        self.write("a")
        with capturedLogs() as events:
            self.clock.advance(0.25)
            self.work()
            self.write("b")
            self.sink.close()
        self.assertEqual([(event["waiting"], event["lost"]) for event in events], [(1, 0), (0, 2)])

    def test_checkpoints(self) -> None:
        """The log has a checkpoint at the beginning, after an hour, and at the end."""
        self.store.checkpoint = "1:ab"
        with capturedLogs() as events:
            for _ in range(3):
                self.write("a")
                self.clock.advance(1)
                self.work()
            self.clock.advance(3600)
            self.write("b")
            self.clock.advance(1)
            self.work()
            self.sink.close()
        self.assertEqual([event["checkpoint"] for event in events], ["1:ab"] * 3)

    def test_full_queue(self) -> None:
        self.patch(module, "QUEUE", 2)
        with capturedLogs() as events:
            self.write("a", "b", "c")
            self.assertEqual((self.sink.fault, self.sink.lost), ("the queue is full", 1))
            self.clock.advance(0.25)
            self.write("d")
            self.assertEqual(self.sink.lost, 2, "a batch in progress counts")
            self.work()
            self.assertIsNone(self.sink.fault)
            self.clock.advance(61)
            self.write("e", "f", "g")
        # Two failures, and the end of the first one.
        self.assertEqual([event["lost"] for event in events], [1, 2, 3])

    def test_unexpected_error(self) -> None:
        """A record that cannot be stored does not prevent the others."""
        self.store.unstorable = {"b", "d"}
        with capturedLogs():
            self.write("a", "b", "c", "d")
            self.clock.advance(0.25)
            self.work()
        self.assertEqual((self.sink.fault, self.sink.lost), ("int too large", 2))
        self.assertEqual(self.store.stored, ["a", "c"])
        self.write("e")
        self.clock.advance(1)
        self.work()
        self.assertEqual((self.sink.fault, self.store.stored), (None, ["a", "c", "e"]))

    def test_unexpected_error_of_pruning(self) -> None:
        self.patch(self.store, "prune", lambda *_: 1 / 0)
        with capturedLogs():
            self.write("a")
            self.clock.advance(0.25)
            self.work()
        self.assertEqual((self.sink.fault, self.sink.lost), ("division by zero", 0))
        self.assertEqual(self.store.stored, ["a"])
        self.sink.close()

    def test_unexpected_error_at_the_end(self) -> None:
        self.store.unstorable = {"a"}
        with capturedLogs():
            self.write("a", "b")
            self.sink.close()
        self.assertEqual((self.sink.lost, self.store.stored, self.store.closed), (1, ["b"], True))

    def test_prune(self) -> None:
        """Old records are deleted every minute, between batches."""
        self.store.left = 15
        self.write("a")
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(self.store.pruned, [(NOW - 172800, 1000)] * 10)
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(len(self.store.pruned), 16)
        self.write("b")
        self.clock.advance(1)
        self.work()
        self.assertEqual(len(self.store.pruned), 16)
        self.write("c")
        self.clock.advance(60)
        self.work()
        self.assertEqual(len(self.store.pruned), 17)

    def test_roll_up(self) -> None:
        """Rollups are updated every ten seconds, in steps between batches, and only for the web console."""
        self.write("a")
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(self.store.rolled_up, 0)
        self.sink = sink_of(self.clock, self.later, self.store, rolls_up=True)
        for name, expected in (("b", 4), ("c", 6), ("d", 6)):
            self.write(name)
            self.clock.advance(0.25)
            self.work()
            self.assertEqual(self.store.rolled_up, expected)
        self.clock.advance(10.0)
        self.write("e")
        self.clock.advance(0.25)
        self.work()
        self.assertEqual(self.store.rolled_up, 7)

    def test_close(self) -> None:
        """Closing writes the batch in progress and the queue."""
        self.write("a")
        self.clock.advance(0.25)
        self.write("b")
        self.sink.close()
        self.assertEqual((self.store.stored, self.store.closed), (["a", "b"], True))
        self.work()
        self.assertEqual(self.store.stored, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_after_failure(self) -> None:
        self.store.error = StoreError("disk full")
        self.write("a")
        self.sink.close()
        self.assertEqual((self.sink.lost, self.store.closed), (1, True))

    def test_close_during_a_failure(self) -> None:
        """The end of a call after the sink was closed changes nothing."""
        self.write("a")
        self.clock.advance(0.25)
        self.sink.close()
        self.store.error = StoreError("closed")
        self.work()
        self.assertEqual((self.sink.lost, self.sink.fault), (0, None))

    def test_close_without_records(self) -> None:
        self.sink.close()
        self.assertTrue(self.store.closed)

    def test_stopped_threads(self) -> None:
        """The records of a cancelled call are written when the sink is closed."""
        self.patch(module, "_BATCH_SECONDS", 0.0)
        threads = Threads(ThreadlessReactor(), "store", 0)
        sink = sink_of(self.clock, threads, self.store)
        sink.write(ALLOWED)
        self.clock.advance(0)
        threads.stop()
        self.assertEqual((sink.lost, sink.fault, self.clock.getDelayedCalls()), (0, None, []))
        sink.close()
        self.assertEqual(self.store.stored, [ALLOWED.request_id])


@implementer(ISpooledStore)
class SpooledMemoryStore(MemoryStore):
    """A store whose records wait in a spool while C{fault} is set."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: str | None = None
        self.refused = self.late = 0
        self.spool: list[str] = []
        self.caught_up = 0

    @property
    def waiting(self) -> int:
        return len(self.spool)

    @property
    def waiting_bytes(self) -> int:
        return 100 * len(self.spool)

    @property
    def oldest_waiting(self) -> float | None:
        return NOW if self.spool else None

    def append(self, records: Sequence[ExchangeRecord]) -> None:
        if self.fault is None:
            super().append(records)
        elif len(self.spool) >= 3:
            raise StoreError("the spool is full")
        else:
            self.spool += [record.request_id for record in records]

    def catch_up(self) -> bool:
        self.caught_up += 1
        if self.fault is None and self.spool:
            self.stored.append(self.spool.pop(0))
            self.late += 1
        return self.fault is not None or bool(self.spool)


class SpooledAuditTests(SynchronousTestCase):
    """Records that wait in a spool are stored, whether or not there are new ones."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = SpooledMemoryStore()
        self.later = Later()
        self.sink = sink_of(self.clock, self.later, self.store)

    def write(self, *names: str) -> None:
        for name in names:
            self.sink.write(attrs.evolve(ALLOWED, request_id=name))

    def work(self, seconds: float) -> None:
        """Let time pass, and run the calls in the thread."""
        self.clock.advance(seconds)
        while self.later.begun:
            self.later.begun.pop(0)()

    def test_interface(self) -> None:
        verifyObject(ISpooledStore, self.store)

    def test_records_of_an_earlier_process(self) -> None:
        self.store.spool = ["a", "b"]
        self.work(0.25)
        self.assertEqual((self.store.stored, self.clock.getDelayedCalls()), (["a", "b"], []))

    def test_away_and_back(self) -> None:
        """The log reports that records wait, and when they are stored."""
        self.store.fault = "no route"
        with capturedLogs() as events:
            self.write("a")
            self.work(0.25)
            self.work(0.25)
            self.write("b")
            self.work(0.25)
            self.assertEqual((self.sink.lost, self.sink.fault, self.store.spool), (0, None, ["a", "b"]))
            self.store.fault = None
            self.work(0.25)
        self.assertEqual((self.store.stored, self.clock.getDelayedCalls()), (["a", "b"], []))
        found = [(event["log_level"].name, event.get("reason"), event.get("late")) for event in events]
        self.assertEqual(found, [("warn", "no route", None), ("info", None, 2)])

    def test_stats(self) -> None:
        """The metrics show the spool; another store has none."""
        self.store.fault, self.store.spool = "away", ["a"]
        stats = SpoolStats(reached=False, records=1, size=100, oldest=NOW)
        with capturedLogs():
            self.work(0.25)
        self.assertEqual(self.sink.spool_stats(), stats)
        sink = sink_of(self.clock, self.later, MemoryStore())
        self.assertIsNone(sink.spool_stats())
        self.assertIsNone(sink.note)

    def test_note(self) -> None:
        """The readiness check notes what is not in the store."""
        self.assertIsNone(self.sink.note)
        self.store.fault, self.store.spool = "no route", ["a"]
        with capturedLogs():
            self.work(0.25)
        self.assertEqual(self.sink.note, "1 audit records wait in the spool: no route")
        self.sink.fault = "the queue is full"
        self.assertEqual(self.sink.note, "the audit store cannot be written: the queue is full")

    def test_lost_while_old_records_are_deleted(self) -> None:
        """The server is tried again, although no record waits."""

        def prune(before: float, max_bytes: int) -> bool:
            self.store.fault = "away"
            return False

        self.patch(self.store, "prune", prune)
        with capturedLogs():
            self.work(0.25)
            before = self.store.caught_up
            self.work(0.25)
            self.assertGreater(self.store.caught_up, before)
            self.store.fault = None
            self.work(0.25)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_waiting_records(self) -> None:
        """They are stored in steps, between the batches."""
        self.store.spool = [f"old{number}" for number in range(15)]
        self.work(0.25)
        self.assertEqual(len(self.store.stored), 10)
        self.write("new")
        self.work(0.25)
        self.assertEqual(len(self.store.stored), 16)

    def test_full_spool(self) -> None:
        """A full spool is a failure, but its records are still stored, which ends it."""
        self.store.fault = "away"
        self.store.spool = ["a", "b", "c"]
        with capturedLogs():
            self.write("d")
            self.work(0.25)
        self.assertEqual((self.sink.fault, self.sink.lost), ("the spool is full", 0))
        self.assertGreater(self.store.caught_up, 0)
        self.store.fault = None
        with capturedLogs():
            self.work(1)
        self.assertEqual((self.sink.fault, self.store.stored), (None, ["d", "a", "b", "c"]))

    def test_refused(self) -> None:
        """Waiting records that the server cannot store are lost, and counted."""
        self.store.refused = 2
        with capturedLogs() as events:
            self.work(0.25)
            self.write("a")
            self.work(0.25)
        self.assertEqual((self.sink.lost, [event["lost"] for event in events]), (2, [2, 2]), "and the end is logged")

    def test_close(self) -> None:
        self.store.fault = "away"
        self.write("a")
        self.sink.close()
        self.assertEqual((self.store.spool, self.sink.lost, self.clock.getDelayedCalls()), (["a"], 0, []))


class StartingWriter:
    """A writer that is written to.

    @ivar calls: the calls.
    @ivar extends: whether records can be added to a batch.
    """

    def __init__(self, spool: SpoolReport | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        self.extends = True
        self.results: list[Deferred[BatchReport]] = []
        self._spool = spool

    def spool(self) -> SpoolReport | None:
        return self._spool

    def prepare(self) -> None:
        self.calls.append(("prepare", 0))

    def write(self, records: Sequence[bytes]) -> Deferred[BatchReport]:
        self.calls.append(("write", len(records)))
        self.results.append(Deferred())
        return self.results[-1]

    def extend(self, records: Sequence[bytes]) -> bool:
        self.calls.append(("extend", len(records)))
        return self.extends

    def close(self, records: Sequence[bytes]) -> BatchReport:
        self.calls.append(("close", len(records)))
        return BatchReport()


REACHED = SpoolReport(None, SpoolStats(reached=True, records=0, size=0, oldest=None), 0, 0)


class StartTests(SynchronousTestCase):
    """The writer of a server starts with the proxy, and no record waits for it longer than necessary."""

    def use(self, spool: SpoolReport | None = REACHED, *, is_awaited: bool = True) -> None:
        self.clock = Clock()
        self.writer = StartingWriter(spool)
        self.sink = StoreAudit(self.clock, self.writer, is_awaited=is_awaited)

    def write(self, number: int = 1) -> None:
        for _ in range(number):
            self.sink.write(ALLOWED)

    def took(self) -> list[tuple[str, int]]:
        """Return the calls of the writer since the last call."""
        calls, self.writer.calls = self.writer.calls, []
        return calls

    def finish(self, report: BatchReport) -> None:
        self.writer.results.pop(0).callback(report)

    def test_server(self) -> None:
        """The first batch, which has no record, starts the writer; further ones never overtake it."""
        self.use()
        self.clock.advance(0)
        self.assertEqual(self.took(), [("write", 0)])
        self.write(2)
        self.clock.advance(0.25)
        self.write()
        self.clock.advance(0.25)
        self.assertEqual(self.took(), [("prepare", 0), ("extend", 2), ("prepare", 0), ("extend", 1)])
        self.assertEqual(self.sink.waiting, 3)
        self.write()
        self.finish(BatchReport())
        self.assertEqual(self.sink.waiting, 1)
        self.clock.advance(0)
        self.assertEqual(self.took(), [("prepare", 0), ("write", 1)])
        self.finish(BatchReport())
        self.assertEqual((self.sink.waiting, self.clock.getDelayedCalls()), (0, []))

    def test_file(self) -> None:
        """The first record starts the writer, and waits for further ones meanwhile."""
        self.use(None)
        self.assertEqual((self.clock.getDelayedCalls(), self.sink.is_starting), ([], False))
        self.write()
        self.assertEqual(self.took(), [("prepare", 0)])
        self.clock.advance(0.25)
        self.assertEqual(self.took(), [("write", 1)])

    def test_slow_batch(self) -> None:
        """The time of a batch counts for the records that wait for its end."""
        self.use(None)
        self.writer.extends = False
        self.write()
        self.clock.advance(0.25)
        self.write(2)
        self.clock.advance(0.25)
        self.assertEqual(self.sink.waiting, 3)
        self.clock.advance(0.15)
        self.took()
        self.finish(BatchReport(more=True))
        self.clock.advance(0)
        self.assertEqual(self.took(), [("write", 2)])
        self.clock.advance(0.1)
        self.write()
        self.finish(BatchReport())
        self.took()
        self.clock.advance(0.14)
        self.assertEqual(self.took(), [])
        self.clock.advance(0.02)
        self.assertEqual(self.took(), [("write", 1)])

    def test_failed_extended_batch(self) -> None:
        """Its records are written again, in their order, before others, from the first part that failed."""
        self.use(None)
        for name in "abc":
            self.sink.write(attrs.evolve(ALLOWED, request_id=name))
            self.clock.advance(0.25)
        self.sink.write(attrs.evolve(ALLOWED, request_id="d"))
        seen: list[list[str]] = []

        def write(batch: Sequence[bytes]) -> Deferred[BatchReport]:
            seen.append(ids_of(batch))
            return Deferred()

        self.patch(self.writer, "write", write)
        with capturedLogs():
            self.finish(BatchReport(fault="disk full", again=True, written=1, errors=("too large",)))
        self.clock.advance(1)
        self.assertEqual((seen, self.sink.lost), ([["b", "c", "d"]], 1))

    def test_long_extended_batch(self) -> None:
        """A batch has a maximum length: another process recognizes only the records of its first batch."""
        self.patch(module, "_BATCH", 3)
        self.use(None)
        self.write(2)
        self.clock.advance(0.25)
        self.took()
        for expected in ([("prepare", 0), ("extend", 1)], [("prepare", 0)]):
            self.write(2)
            self.clock.advance(0.25)
            self.assertEqual(self.took(), expected)
        self.assertEqual(self.sink.waiting, 6)
        with capturedLogs():
            self.writer.results.pop().errback(StoreError("lost"))
        self.clock.advance(1)
        self.assertEqual(self.took(), [("write", 3)])

    def test_close(self) -> None:
        """The last records include those that were added to a batch."""
        self.use()
        self.write()
        self.clock.advance(0)
        self.write()
        self.clock.advance(0.25)
        self.write()
        self.took()
        self.sink.close()
        self.assertEqual((self.took(), self.clock.getDelayedCalls()), ([("close", 3)], []))

    def test_starting(self) -> None:
        """The proxy waits for the writer of a server that was reached, but not for long."""
        self.use()
        self.assertTrue(self.sink.is_starting)
        self.clock.advance(4.9)
        self.assertTrue(self.sink.is_starting)
        self.finish(BatchReport())
        self.assertFalse(self.sink.is_starting)
        self.use()
        self.clock.advance(0)
        with capturedLogs():
            self.writer.results.pop().errback(StoreError("lost"))
        self.assertFalse(self.sink.is_starting, "a failure is reported in another way")
        self.use()
        self.clock.advance(5)
        self.assertFalse(self.sink.is_starting)

    def test_not_awaited(self) -> None:
        """The proxy does not wait if the server is away: then the records wait in the spool."""
        self.use(attrs.evolve(REACHED, fault="no route"))
        self.assertFalse(self.sink.is_starting)
        self.use(is_awaited=False)
        self.assertFalse(self.sink.is_starting)


def ids_of(batch: Sequence[bytes]) -> list[str]:
    """Return the ids of serialized records."""
    entries = map(decode_entry, batch)
    return [each.request_id for each in entries if isinstance(each, ExchangeRecord)]
