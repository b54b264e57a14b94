"""Tests for L{benchmarks.measure}: which CPU time and which measurements are counted."""

from __future__ import annotations

import os
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.measure import Cores, Stat, Void, check, cpu_seconds, memory_kib, parse_pss, parse_stat, tree_of
from benchmarks.native import Told
from benchmarks.scenarios import Traffic

STAT = "4242 (a (b) c) S 17 4242 4200 0 -1 4194560 900 10 0 0 250 30 4 16 20 0 1 0 12345 1000 200 18446744073709551615"
ROLLUP = """\
5612b9099000-7fffbf1f8000 ---p 00000000 00:00 0                          [rollup]
Rss:                1752 kB
Pss:                 374 kB
Pss_Dirty:           112 kB
"""


class ProcessTests(SynchronousTestCase):
    """The time and the memory of all processes of a proxy, and of no other."""

    def test_stat(self) -> None:
        """A name with blanks and parentheses does not shift the fields; ended children are included."""
        self.assertEqual(parse_stat(STAT), Stat(pid=4242, parent=17, session=4200, ticks=250 + 30 + 4 + 16))

    def test_pss(self) -> None:
        """Only the total is used, not its parts; a process without memory has none."""
        self.assertEqual((parse_pss(ROLLUP), parse_pss("")), (374, 0))

    def test_tree(self) -> None:
        """The processes of the session, whatever their parents are now, and descendants that left the session."""
        root, orphan = Stat(10, 1, 10, 5), Stat(11, 1, 10, 5)
        left, below = Stat(12, 10, 12, 5), Stat(13, 12, 12, 5)
        others = [Stat(1, 0, 1, 5), Stat(14, 1, 14, 5), Stat(9, 1, 9, 5)]
        found = tree_of(10, [*others, below, left, orphan, root])
        self.assertEqual(sorted(stat.pid for stat in found), [10, 11, 12, 13])

    def test_own(self) -> None:
        """This process has both."""
        pid = os.getpid()
        self.assertGreater(cpu_seconds(pid), 0)
        self.assertGreater(memory_kib(pid), 1000)


class CoresTests(SynchronousTestCase):
    """The proxy has a core of its own, if possible."""

    def test_shares(self) -> None:
        for count, spread, proxy, others in (
            (1, 1, (0,), (0,)),
            (2, 1, (0,), (1,)),
            (2, 2, (0,), (1,)),
            (4, 1, (0,), (2, 3)),
            (4, 2, (0, 1), (2, 3)),
        ):
            with self.subTest(count=count, spread=spread):
                cores = Cores(tuple(range(count)))
                self.assertEqual((cores.for_proxy(spread), cores.others), (proxy, others))


class CheckTests(SynchronousTestCase):
    """A proxy that does not do its work does not count as cheap."""

    traffic = Traffic("forward", 1000, denied_every=50)
    told = Told(
        units=1000,
        denied=20,
        errors=0,
        wrong=0,
        first_error="",
        seconds=1.0,
        bytes=1,
        p50_us=1.0,
        p99_us=1.0,
        cpu_seconds=1.0,
    )

    def void(self, told: Told, asked_origin: int = 980, asked_authorizer: int | None = None) -> str:
        error = self.assertRaises(
            Void, check, self.traffic, told, asked_origin=asked_origin, asked_authorizer=asked_authorizer
        )
        return str(error)

    def test_good(self) -> None:
        """Authorization requests about tunnels are counted in addition to those about requests."""
        for authorizer in (None, 1000, 1032):
            check(self.traffic, self.told, asked_origin=980, asked_authorizer=authorizer)
        check(self.traffic, replace(self.told, errors=1), asked_origin=981, asked_authorizer=None)

    def test_load(self) -> None:
        """The results of the load generator."""
        self.assertIn("1 of 1000 responses are wrong: why", self.void(replace(self.told, wrong=1, first_error="why")))
        self.assertIn("2 errors", self.void(replace(self.told, errors=2)))
        self.assertIn("nothing finished", self.void(replace(self.told, units=0, denied=0)))
        self.assertIn("10 of 1000 requests were denied", self.void(replace(self.told, denied=10)))

    def test_others(self) -> None:
        """The results of the servers behind the proxy detect a cached response and a cached decision."""
        self.assertIn("origin received 979 requests instead of 980", self.void(self.told, asked_origin=979))
        self.assertIn("origin received 1000 requests instead of 980", self.void(self.told, asked_origin=1000))
        self.assertIn("only 32 authorization requests for 1000", self.void(self.told, asked_authorizer=32))
