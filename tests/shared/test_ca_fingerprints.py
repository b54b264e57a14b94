"""Tests for L{egress.shared.ca_fingerprints}."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.shared.ca_fingerprints import FIRST_AFTER, INTERVAL, MAX_VALUE, REPEAT_AFTER, CaComparison, SharedViews
from egress.shared.ca_views import LIFETIME, CaView, encode
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import SharedUnavailable
from egress.tls.issuer import fingerprint_of
from tests.certificates import TestCA
from tests.shared.engine import Engine, EngineClient

EPOCH = 1e9
KEYS = SharedKeys(bytes(32), "ca")
OLD, NEW = TestCA("Old"), TestCA("New")


class _Authority:
    def __init__(self, ca: TestCA | None) -> None:
        self.root = None if ca is None else ca.certificate


class _Watch:
    """The CA of a replica, in place of L{egress.tls.ca_watch.CaWatch}."""

    def __init__(self, ca: TestCA | None, *trusted: TestCA) -> None:
        self.use(ca, *trusted)

    def use(self, ca: TestCA | None, *trusted: TestCA) -> None:
        self.authority = _Authority(ca)
        self.trusted = tuple(each.certificate for each in trusted)


class Replica:
    """A process with a CA."""

    def __init__(self, clock: Clock, engine: Engine, ca: TestCA | None, *trusted: TestCA) -> None:
        self.client = EngineClient(engine)
        self.watch = _Watch(ca, *trusted)
        self.registry = CollectorRegistry()
        client: Any = self.client
        watch: Any = self.watch
        self.views = SharedViews(client, KEYS, lambda: EPOCH + clock.seconds())
        self.comparison = CaComparison(clock, self.views)
        self.comparison.follow(watch, self.registry, lambda: EPOCH + clock.seconds())
        self.comparison.start()

    @property
    def metric(self) -> float | None:
        return self.registry.get_sample_value("egress_shared_ca_mismatches")


class ComparisonTestCase(SynchronousTestCase):
    """Base: an engine."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)

    def replica(self, ca: TestCA | None, *trusted: TestCA) -> Replica:
        found = Replica(self.clock, self.engine, ca, *trusted)
        self.addCleanup(found.comparison.stop)
        return found

    def wait(self, seconds: float = INTERVAL + FIRST_AFTER) -> None:
        self.clock.pump([FIRST_AFTER] * int(seconds / FIRST_AFTER))

    def note(self, replica: Replica) -> str | None:
        return self.successResultOf(replica.comparison.check())


class ReplicasTests(ComparisonTestCase):
    """Replicas with the same root, and with another one."""

    def test_same(self) -> None:
        """One of them repeats the view of all."""
        replicas = [self.replica(OLD), self.replica(OLD, OLD), self.replica(OLD)]
        with capturedLogs() as events:
            self.wait(10 * LIFETIME)
        self.assertEqual(events, [])
        self.assertEqual([self.note(each) for each in replicas], [None] * 3)
        self.assertEqual([each.metric for each in replicas], [0] * 3)
        written = [command for command in self.engine.commands if command[0] == "SET"]
        self.assertLessEqual(len(written), 10 * LIFETIME / REPEAT_AFTER + 1)
        self.assertEqual(len(self.engine.values), 1)

    def test_other(self) -> None:
        """Each replica reports the other once, and again that they agree."""
        one, two = self.replica(OLD), self.replica(NEW)
        with capturedLogs() as events:
            self.wait(3 * LIFETIME)
        warnings = [event["mismatch"] for event in events if event["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 2)
        for replica, other in ((one, NEW), (two, OLD)):
            note = self.note(replica) or ""
            self.assertIn(fingerprint_of(other.certificate), note)
            self.assertIn(note, warnings)
            self.assertEqual(replica.metric, 1)
        two.watch.use(OLD)
        with capturedLogs() as events:
            self.wait(LIFETIME + 2 * INTERVAL)
        # The earlier view is forgotten after a minute.
        self.assertEqual([event["log_level"] for event in events][-2:], [LogLevel.info] * 2)
        self.assertEqual((self.note(one), self.note(two), one.metric), (None, None, 0))

    def test_rotation(self) -> None:
        """There is no warning while the clients of all trust both roots."""
        replicas = [self.replica(OLD), self.replica(OLD)]
        with capturedLogs() as events:
            for certificates in ((OLD, OLD, NEW), (NEW, NEW, OLD), (NEW,)):
                for replica in replicas:
                    self.wait(2 * LIFETIME)
                    replica.watch.use(*certificates)
            self.wait(2 * LIFETIME)
        self.assertEqual(events, [])

    def test_root_not_known(self) -> None:
        one, two = self.replica(None), self.replica(OLD)
        self.wait()
        self.assertEqual((one.comparison.found, two.comparison.found), ([], []))
        one.watch.use(NEW)
        self.wait(2 * INTERVAL)
        self.assertEqual(one.metric, 1)
        one.watch.use(None)
        self.wait(2 * INTERVAL)
        self.assertEqual(one.metric, 0)

    def test_stopped(self) -> None:
        one = self.replica(OLD)
        self.wait()
        one.comparison.stop()
        one.comparison.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class EngineTests(ComparisonTestCase):
    """What the engine, or someone who can write to it, can do."""

    def put(self, value: bytes) -> None:
        ((name, (_, until)),) = self.engine.values.items()
        self.engine.values[name] = (value, until)

    def test_away(self) -> None:
        """The last result remains, and the next one follows when the engine is back."""
        one, two = self.replica(OLD), self.replica(NEW)
        self.wait()
        for replica in (one, two):
            replica.client.fault = "away"
        self.wait(2 * LIFETIME)
        self.assertEqual((one.metric, two.metric), (1, 1))
        self.failureResultOf(one.views.read(), SharedUnavailable)
        two.watch.use(OLD)
        for replica in (one, two):
            replica.client.fault = None
        self.wait()
        self.assertEqual((one.metric, two.metric), (0, 0))

    def test_away_between(self) -> None:
        """The connection is lost before the view is written."""
        one = self.replica(OLD)
        one.client.pending = []
        self.wait(FIRST_AFTER)
        ((deferred, _),) = one.client.pending
        one.client.fault = "away"
        deferred.callback(b"")
        self.assertEqual(self.engine.values, {})

    def test_rejected(self) -> None:
        """A value of another type is replaced."""
        one = self.replica(OLD)
        one.client.rejects = True
        self.wait()
        self.assertEqual(one.comparison.found, [])
        one.client.rejects = False
        self.wait()
        self.assertEqual(len(self.successResultOf(one.views.read())), 1)

    def test_forged(self) -> None:
        """Values that no holder of the key has sealed for this name cause no warning, and are replaced."""
        one = self.replica(OLD)
        self.wait()
        forged = encode([CaView.of(NEW.certificate, [], "x", EPOCH)])
        ((name, _),) = self.engine.values.items()
        for value in (
            forged,
            SharedKeys(bytes([1]) * 32, "ca").seal(name, forged),
            KEYS.seal(b"another", forged),
            b"x" * (MAX_VALUE + 1),
        ):
            self.put(value)
            self.wait()
            self.assertEqual(one.metric, 0)
            (view,) = self.successResultOf(one.views.read())
            self.assertTrue(view.agrees_with(view))

    def test_repeated(self) -> None:
        """An earlier value has no effect after a minute."""
        one, two = self.replica(OLD), self.replica(NEW)
        self.wait()
        ((_, (value, _)),) = self.engine.values.items()
        two.comparison.stop()
        self.wait(LIFETIME + 2 * INTERVAL)
        self.assertEqual(one.metric, 0)
        for _ in range(5):
            self.put(value)
            self.wait()
            self.assertEqual(one.metric, 0)
