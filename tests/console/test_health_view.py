"""Tests for L{egress.console.health_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.health_view import charts_of, checks_of, percent, spans, tiles_of
from egress.observability.history import History, Reading

NOW = 1_800_000_000.0
DAY = 86400.0


def history(*readings: Reading) -> History:
    """Return a history with a reading each minute, the last one now."""
    found = History()
    for index, reading in enumerate(readings):
        found.add(reading, NOW - 60 * (len(readings) - 1 - index))
    return found


def counters(allow: float, deny: float = 0, **more: float) -> dict[str, float]:
    return {"verdict.allow": allow, "verdict.deny": deny, **more}


class CheckTests(SynchronousTestCase):
    """Readiness checks, with the remedy."""

    def test_checks(self) -> None:
        rows = checks_of({"ca": "ok", "authorizer": "no response", "other": "broken"})
        self.assertEqual(
            [(row.name, row.is_ok) for row in rows], [("Authorizer", False), ("other", False), ("CA", True)]
        )
        self.assertEqual((rows[0].reason, rows[2].reason, rows[2].remedy), ("no response", "", ""))
        self.assertIn("--authz-url", rows[0].remedy)
        self.assertIn("log", rows[1].remedy)

    def test_notes(self) -> None:
        (row,) = checks_of({"audit": "ok: 12 audit records wait"})
        self.assertEqual((row.is_ok, row.reason, row.remedy), (True, "12 audit records wait", ""))


class TileTests(SynchronousTestCase):
    """The current numbers."""

    def tiles(self, found: History) -> dict[str, tuple[str, str, str]]:
        return {tile.name: (tile.value, tile.kind, tile.note) for tile in tiles_of(found, NOW)}

    def test_no_reading(self) -> None:
        self.assertEqual(tiles_of(History(), NOW), [])

    def test_embedded_policy(self) -> None:
        tiles = self.tiles(
            history(Reading(counters(0), {}), Reading(counters(190, 10), {"connections": 3.0}, NOW + 40 * DAY))
        )
        self.assertEqual(tiles["Requests, last hour"], ("200", "", ""))
        self.assertEqual(tiles["Denied, last hour"], ("10", "bad", "5.0 % of all"))
        self.assertEqual(tiles["Client connections"][0], "3")
        self.assertEqual(tiles["CA expiry"], ("in 40 d", "", "2027-02-24"))
        for name in ("Circuit breaker", "Workers", "Audit records lost", "Cache hit rate, last hour"):
            self.assertNotIn(name, tiles)

    def test_authorizer(self) -> None:
        more = {"cache.hit": 3.0, "cache.miss": 1.0, "decision_within.0.01": 99.0, "decision_within.+Inf": 100.0}
        gauges = {"breaker.closed": 1.0, "breaker.open": 1.0, "queued": 4.0, "in_progress": 2.0}
        tiles = self.tiles(history(Reading(counters(1, **more), gauges)))
        self.assertEqual(tiles["Circuit breaker"], ("open", "bad", "in 1 of 2 processes"))
        self.assertEqual(tiles["Queued authorizations"], ("4", "warn", "2 in progress"))
        self.assertEqual(tiles["Cache hit rate, last hour"][0], "75 %")
        self.assertEqual(tiles["Decision, 99 % below"][0], "10 ms")
        tiles = self.tiles(history(Reading({}, {"breaker.closed": 1.0, "breaker.open": 0.0})))
        self.assertEqual(tiles["Circuit breaker"], ("closed", "good", ""))
        tiles = self.tiles(history(Reading({}, {"breaker.closed": 0.0, "breaker.half-open": 1.0})))
        self.assertEqual(tiles["Circuit breaker"], ("half-open", "warn", ""))

    def test_workers(self) -> None:
        gauges = {"workers.configured": 4.0, "workers.running": 3.0}
        tiles = self.tiles(history(Reading({"lost": 7.0}, gauges)))
        self.assertEqual(tiles["Workers"], ("3 of 4", "bad", ""))
        self.assertEqual(tiles["Audit records lost"], ("7", "bad", "since the start"))

    def test_ca(self) -> None:
        for left, value, kind in (
            (-1.0, "expired", "bad"),
            (10 * DAY, "in 10 d", "warn"),
            (3652 * DAY, "in 10 years", ""),
        ):
            tiles = self.tiles(history(Reading({}, {}, NOW + left)))
            self.assertEqual(tiles["CA expiry"][:2], (value, kind))
        self.assertEqual(self.tiles(history(Reading({}, {})))["CA expiry"][0], "\u2013")

    def test_percent(self) -> None:
        for share, expected in ((0.0, "0 %"), (0.001, "0.1 %"), (0.5, "50 %"), (0.999, "99.9 %"), (1.0, "100 %")):
            self.assertEqual(percent(share), expected)


class ChartTests(SynchronousTestCase):
    """The charts."""

    def test_all(self) -> None:
        """A service with a cache, and workers, have all charts."""
        gauges = {
            "breaker.closed": 0.0,
            "breaker.open": 1.0,
            "in_progress": 2.0,
            "queued": 7.0,
            "connections": 9.0,
            "workers.running": 1.0,
            "workers.configured": 2.0,
            "memory": 5e7,
        }
        one = {"decision_within.0.1": 10.0, "decision_within.+Inf": 10.0, "cache.hit": 1.0, "cache.miss": 1.0}
        found = history(
            Reading({}, {}), Reading(counters(8, 2, sent=10.0, received=2000.0, cpu_seconds=6.0, **one), gauges)
        )
        charts = {chart.name: chart for chart in charts_of(found, "hour", NOW)}
        expected = {
            "requests": [("allow", "8"), ("deny", "2"), ("unavailable", "0"), ("rejected", "0"), ("failed", "0")],
            "decisions": [("median", "50 ms"), ("99 % below", "99 ms")],
            "cache": [("hit rate", "50 %")],
            "queue": [("in progress", "2"), ("queued", "7")],
            "breaker": [("open", "1"), ("half-open", "\u2013")],
            "connections": [("connections", "9")],
            "traffic": [("received", "2.0 kB"), ("sent", "10 B")],
            "workers": [("running", "1"), ("configured", "2")],
            "processor": [("processor", "10 %")],
            "memory": [("memory", "50.0 MB")],
        }
        for name, legend in expected.items():
            with self.subTest(name):
                self.assertEqual([(key.name, key.value) for key in charts[name].legend], legend)
        self.assertEqual(list(charts), list(expected))
        self.assertIn("the last hour by minute", charts["requests"].text)
        self.assertEqual(len(charts["requests"].table), 2)

    def test_policy(self) -> None:
        """An embedded policy has no queue, no breaker, and no cache."""
        names = [chart.name for chart in charts_of(history(Reading(counters(1), {})), "day", NOW)]
        self.assertEqual(names, ["requests", "decisions", "connections", "traffic", "processor", "memory"])

    def test_empty(self) -> None:
        for chart in charts_of(History(), "day", NOW):
            self.assertTrue(chart.empty)

    def test_spans(self) -> None:
        found = spans("/console/health", "day")
        self.assertEqual(
            [(each.path, each.current) for each in found],
            [("/console/health", False), ("/console/health?span=day", True)],
        )
