"""Tests for L{egress.store.spooled}."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.store.interfaces import ISpooledStore, StoreError, StoreUnreachable
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database
from egress.store.spool import Spool
from egress.store.spooled import SpooledStore
from tests.files import make_directory
from tests.observability.records import ALLOWED


class FakeServer:
    """The store of a server.

    @ivar error: the error of the next calls.
    @ivar unstorable: the ids of records that cannot be stored.
    """

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.error: Exception | None = None
        self.unstorable: set[str] = set()
        self.calls: list[str] = []
        self.policies: list[str] = []
        self.commits = True

    def encode(self, record: ExchangeRecord) -> bytes:
        return json.dumps({"time_ms": int(record.time * 1000), "request_id": record.request_id}).encode() + b"\n"

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error

    def append_encoded(self, lines: Sequence[bytes]) -> None:
        if not self.commits or self.error is None:
            names = [json.loads(line)["request_id"] for line in lines]
            if self.unstorable.intersection(names):
                raise ValueError("too large")
            self.stored += [name for name in names if name not in self.stored]
        self._call("append")

    def connect(self) -> None:
        self._call("connect")

    def release(self) -> None:
        self.calls.append("release")

    def prune(self, before: float, max_bytes: int) -> bool:
        self._call("prune")
        self.pruned = before
        return True

    def record_policies(self, uses: Sequence[PolicyUse]) -> None:
        self._call("policies")
        self.policies += [use.version for use in uses]

    def roll_up(self, now: float) -> bool:
        self._call("roll_up")
        return True

    def last_seq(self) -> int:
        return len(self.stored)

    def close(self) -> None:
        self.calls.append("close")


class SpooledStoreTests(SynchronousTestCase):
    """Records are stored, or wait."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = make_directory(self)
        self.server = FakeServer()
        self.store = self.open()

    def open(self, max_bytes: int = 10_000) -> Any:
        return SpooledStore(self.server, Spool(self.directory, max_bytes), self.clock.seconds)

    def write(self, *names: str) -> None:
        self.store.append([attrs.evolve(ALLOWED, request_id=name) for name in names])

    def test_interface(self) -> None:
        server = PostgresqlStore(Database(url="postgresql://db.test/audit"))
        verifyObject(ISpooledStore, SpooledStore(server, Spool(self.directory, 1), self.clock.seconds))
        self.assertRaises(AttributeError, getattr, self.store, "no_method")

    def test_reached(self) -> None:
        self.write("a")
        self.assertEqual((self.server.stored, self.store.waiting, self.store.fault), (["a"], 0, None))
        self.assertFalse(self.store.catch_up())
        self.assertEqual(self.store.last_seq(), 1)
        self.assertEqual((self.store.prune(0, 0), self.store.roll_up(0)), (True, True))
        self.store.prune(3 * 86400.0 + 5.5, 0)
        self.assertEqual(self.server.pruned, 3 * 86400.0, "whole days")

    def test_policies(self) -> None:
        """The uses of policies wait in memory, also if the server is lost meanwhile; old ones are left out."""
        uses = [PolicyUse(time=1.0, version=f"v{number}", digest="d", source="s") for number in range(23)]
        self.store.record_policies(uses[:1])
        self.assertEqual(self.server.policies, ["v0"])
        self.server.error = StoreUnreachable("away")
        self.store.record_policies(uses[1:2])
        self.assertEqual(self.store.fault, "away")
        self.store.record_policies(uses[2:])
        self.server.error = None
        self.clock.advance(60)
        self.assertFalse(self.store.catch_up())
        self.assertEqual(self.server.policies, ["v0", *(f"v{number}" for number in range(3, 23))])

    def test_away_and_back(self) -> None:
        """Records wait, and are stored in their order."""
        self.server.error = StoreUnreachable("away")
        self.write("a", "b")
        self.write("c")
        self.assertEqual(self.server.calls, ["append"], "no record waits for a server that is away")
        self.assertEqual((self.store.waiting, self.store.fault, self.server.stored), (3, "away", []))
        self.assertGreater(self.store.waiting_bytes, 100)
        self.assertEqual(self.store.oldest_waiting, ALLOWED.time)
        self.assertEqual((self.store.prune(0, 0), self.store.roll_up(0)), (False, False))
        self.server.error = None
        self.assertTrue(self.store.catch_up())
        self.assertEqual(self.server.stored, [], "the next attempt is not due")
        self.write("d")
        self.clock.advance(1)
        self.assertFalse(self.store.catch_up())
        self.assertEqual((self.server.stored, self.store.late), (["a", "b", "c", "d"], 4))
        self.assertEqual((self.store.waiting, self.store.fault, self.store.oldest_waiting), (0, None, None))
        self.write("e")
        self.assertEqual(self.server.stored[-1], "e")

    def test_attempts(self) -> None:
        """The time between attempts grows to five seconds."""
        self.server.error = StoreUnreachable("away")
        self.write("a")
        self.server.calls.clear()
        times = []
        for _ in range(300):
            self.clock.advance(0.25)
            self.assertTrue(self.store.catch_up())
            if self.server.calls:
                times.append(self.clock.seconds())
                self.server.calls.clear()
        self.assertEqual(times[:5], [1.0, 3.0, 7.0, 12.0, 17.0])

    def test_unknown_result(self) -> None:
        """A batch that was stored although the server was lost is stored once."""
        self.server.error, self.server.commits = StoreUnreachable("lost"), False
        self.write("a")
        self.assertEqual((self.server.stored, self.store.waiting), (["a"], 1))
        self.server.error = None
        self.clock.advance(1)
        self.store.catch_up()
        self.assertEqual((self.server.stored, self.store.waiting), (["a"], 0))

    def test_many(self) -> None:
        """Waiting records are stored in batches."""
        self.store = self.open(1_000_000)
        self.server.error = StoreUnreachable("away")
        self.write(*map(str, range(2500)))
        self.server.error = None
        self.clock.advance(1)
        self.assertEqual([self.store.catch_up() for _ in range(3)], [True, True, False])
        self.assertEqual(self.server.stored, [*map(str, range(2500))])

    def test_lost_again(self) -> None:
        """Records wait for the server again if it is lost while they are stored."""
        self.server.error = StoreUnreachable("away")
        self.write("a")
        self.server.error = None
        self.clock.advance(1)
        self.patch(self.server, "append_encoded", self.fail_to_append)
        self.assertTrue(self.store.catch_up())
        self.assertEqual((self.store.waiting, self.store.fault), (1, "lost"))

    def fail_to_append(self, lines: Sequence[bytes]) -> None:
        raise StoreUnreachable("lost")

    def test_refused(self) -> None:
        """A waiting record that cannot be stored does not prevent the others."""
        self.server.error = StoreUnreachable("away")
        self.write("a", "b", "c", "d")
        self.server.error, self.server.unstorable = None, {"b"}
        self.clock.advance(1)
        self.assertFalse(self.store.catch_up())
        self.assertEqual((self.server.stored, self.store.refused, self.store.late), (["a", "c", "d"], 1, 3))
        self.assertRaises(ValueError, self.write, "b")
        self.assertEqual(self.store.waiting, 0)

    def test_full(self) -> None:
        """A full spool is an error, until records of it are stored."""
        self.store = self.open(100)
        self.server.error = StoreUnreachable("away")
        self.write("a")
        self.assertIn("full", str(self.assertRaises(StoreError, self.write, "b", "c")))
        self.server.error = None
        self.clock.advance(1)
        self.store.catch_up()
        self.write("b", "c")
        self.assertEqual(self.server.stored, ["a", "b", "c"])

    def test_restart(self) -> None:
        """A process stores what an earlier one has left, before it has records of its own."""
        self.server.error = StoreUnreachable("away")
        self.write("a")
        self.store.close()
        self.server.error = None
        self.store = self.open()
        self.assertFalse(self.store.catch_up())
        self.assertEqual(self.server.stored, ["a"])

    def test_successor(self) -> None:
        """A running process takes over records once a minute."""
        self.store.catch_up()
        self.server.error = StoreUnreachable("away")
        other = self.open()
        other.append([ALLOWED])
        other.close()
        self.server.error = None
        self.clock.advance(59)
        self.store.catch_up()
        self.assertEqual(self.server.stored, [])
        self.clock.advance(1)
        self.store.catch_up()
        self.assertEqual(self.server.stored, [ALLOWED.request_id])

    def test_check(self) -> None:
        """At a start, the server can be away; a database that cannot be used is an error."""
        self.store.check()
        self.assertEqual((self.server.calls, self.store.fault), (["connect", "release"], None))
        self.server.error = StoreUnreachable("away")
        self.store.check()
        self.assertEqual(self.store.fault, "away")
        self.server.error = StoreError("no tables")
        self.assertRaises(StoreError, self.store.check)
        self.assertEqual(self.server.calls[-1], "release")

    def test_failed_maintenance(self) -> None:
        self.server.error = StoreUnreachable("away")
        self.assertFalse(self.store.prune(0, 0))
        self.assertEqual(self.store.fault, "away")

    def test_close(self) -> None:
        self.store.close()
        self.assertEqual(self.server.calls, ["close"])
        self.assertFalse(self.store.catch_up())
