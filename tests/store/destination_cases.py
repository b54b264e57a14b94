"""Lists of destinations, which are the same for each kind of database."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import attrs

from egress.model.record import ExchangeRecord
from egress.store.destinations import ORDERS, Destination, Destinations, Page, Paths
from egress.store.filter_language import parse_filter
from egress.store.rollups import HOUR, SHORT
from tests.observability.records import REFUSED
from tests.store.search_cases import record

# The beginning of an hour.
T0 = 1_700_002_800.0
NOW = T0 + 10 * HOUR


def at(name: str, seconds: float, host: str, **fields: Any) -> ExchangeRecord:
    """Make a record of a host, some seconds after L{T0}."""
    path = fields.pop("path", "/v1/items")
    return attrs.evolve(record(name), time=T0 + seconds, url=f"https://{host}{path}", **fields)


DENIED: dict[str, Any] = {"verdict": "deny", "outcome": "denied", "status": 403, "bytes_received": 0}

RECORDS = (
    at("a1", 10, "a.test", duration=0.004, bytes_sent=1, bytes_received=10),
    at("a2", 20, "a.test", duration=0.020, bytes_sent=2, bytes_received=20),
    at("a3", HOUR + 30, "a.test", path="/v1/other", **DENIED, duration=9.0),
    at("b1", 2 * HOUR + SHORT + 1, "b.test", method="GET", duration=20.0),
    at("b2", 2 * HOUR + 2 * SHORT, "b.test", method="GET", path="/<script>alert(1)</script>", duration=0.3),
    attrs.evolve(record("c1"), time=T0 + 3 * HOUR, url="c.test:443", method="CONNECT", stage="tunnel", duration=3600.0),
    attrs.evolve(REFUSED, request_id="none", time=T0 + 4 * HOUR),
)


class DestinationCases:
    """Lists of the destinations of L{RECORDS}, whichever part of them is in the rollups."""

    store: Any

    def fill(self, rolled: int) -> None:
        """Store the records, and add the first ones to the rollups."""
        self.store.append(RECORDS[:rolled])
        while self.store.roll_up(NOW):
            pass
        self.store.append(RECORDS[rolled:])

    def destinations(self, text: str, **page: Any) -> Destinations:
        found: Destinations = self.store.destinations(parse_filter(text, NOW), Page(**page), NOW)
        return found

    def named(self, text: str, **page: Any) -> dict[str, Destination]:
        return {each.host: each for each in self.destinations(text, **page).rows}

    def paths(self, host: str, text: str = "") -> Paths:
        found: Paths = self.store.paths(host, parse_filter(text, NOW))
        return found

    def test_all(self: Any) -> None:
        """Counts, sizes, times and durations do not depend on the state of the rollups."""
        for rolled in (0, 3, len(RECORDS)):
            with self.subTest(rolled=rolled):
                self.store = self.open_new()
                self.fill(rolled)
                found = self.destinations("")
                self.assertEqual((found.hosts, found.records, found.limited), (4, 7, False))
                one = self.named("")["a.test"]
                self.assertEqual((one.records, one.verdicts["allow"], one.verdicts["deny"]), (3, 2, 1))
                self.assertEqual((one.bytes_sent, one.bytes_received), (15, 30))
                self.assertEqual((one.first, one.last, one.first_seen), (T0 + 10, T0 + HOUR + 30, T0 + 10))
                # A denied request says nothing about the host.
                self.assertEqual((one.durations.count, one.durations.longest), (2, 20.0))
                self.assertEqual(one.durations.within[:3], (1, 1, 2))
                self.assertAlmostEqual(one.durations.total, 24.0)
                # Neither does a tunnel.
                self.assertEqual(self.named("")["c.test"].durations.count, 0)
                self.assertEqual(self.named("")[""].verdicts["rejected"], 1)

    def test_orders(self: Any) -> None:
        self.fill(5)
        hosts = lambda **page: [each.host for each in self.destinations("", **page).rows]  # noqa: E731
        self.assertEqual(hosts(), ["a.test", "b.test", "", "c.test"])
        self.assertEqual(hosts(order="host", descending=False), ["", "a.test", "b.test", "c.test"])
        self.assertEqual(hosts(order="duration"), ["b.test", "a.test", "", "c.test"])
        self.assertEqual(hosts(order="last"), ["", "c.test", "b.test", "a.test"])
        self.assertEqual(hosts(order="deny")[0], "a.test")
        for order in ORDERS:
            self.assertEqual(len(hosts(order=order)), 4)

    def test_pages(self: Any) -> None:
        self.fill(5)
        found = self.destinations("", order="host", descending=False, limit=2, offset=1)
        self.assertEqual(([each.host for each in found.rows], found.hosts), (["a.test", "b.test"], 4))
        self.assertEqual(self.destinations("", offset=9), Destinations(rows=(), hosts=0, records=0))

    def test_conditions(self: Any) -> None:
        """Rollups and records give the same results."""
        for rolled in (0, 3, len(RECORDS)):
            self.store = self.open_new()
            self.fill(rolled)
            for text, expected in (
                ("host:a.test", {"a.test": 3}),
                ("-host:*.test", {"": 1}),
                ("verdict:deny", {"a.test": 1}),
                # A condition that needs the records.
                ("method:GET", {"b.test": 2}),
                ("path:/v1/*", {"a.test": 3, "b.test": 1}),
                ('"other"', {"a.test": 1}),
                ("host:b.test outcome:forwarded", {"b.test": 2}),
                ("method:GET verdict:deny", {}),
            ):
                with self.subTest(text, rolled=rolled):
                    found = {each.host: each.records for each in self.named(text).values()}
                    self.assertEqual(found, expected)

    def test_times(self: Any) -> None:
        """A time range is rounded to five minutes."""
        for rolled in (0, 3, len(RECORDS)):
            self.store = self.open_new()
            self.fill(rolled)
            for text, expected in (
                (f"since:{_time(HOUR)}", {"a.test": 1, "b.test": 2, "c.test": 1, "": 1}),
                (f"since:{_time(2 * HOUR + SHORT + 100)}", {"b.test": 2, "c.test": 1, "": 1}),
                (f"since:{_time(2 * HOUR + 2 * SHORT)}", {"b.test": 1, "c.test": 1, "": 1}),
                (f"until:{_time(2 * HOUR + 2 * SHORT)}", {"a.test": 3, "b.test": 1}),
                (f"since:{_time(60)} until:{_time(90)}", {"a.test": 2}),
                (f"since:{_time(HOUR)} until:{_time(0)}", {}),
                (f"since:{_time(2 * HOUR)} method:GET", {"b.test": 2}),
            ):
                with self.subTest(text, rolled=rolled):
                    found = {each.host: each.records for each in self.named(text).values()}
                    self.assertEqual(found, expected)

    def test_first_seen(self: Any) -> None:
        """The first record of a host can be older than the time range."""
        self.fill(len(RECORDS))
        again = at("a4", 5 * HOUR, "a.test")
        self.store.append([again, at("new", 5 * HOUR + 1, "new.test")])
        found = self.named(f"since:{_time(5 * HOUR)}")
        self.assertEqual((found["a.test"].first, found["a.test"].first_seen), (T0 + 5 * HOUR, T0 + 10))
        self.assertEqual(list(self.named("", new_since=T0 + 5 * HOUR)), ["new.test"])

    def test_paths(self: Any) -> None:
        self.fill(5)
        found = self.paths("b.test")
        self.assertEqual((found.records, found.limited), (2, False))
        self.assertEqual(
            [(each.method, each.path, each.records) for each in found.rows],
            [("GET", "/<script>alert(1)</script>", 1), ("GET", "/v1/items", 1)],
        )
        self.assertEqual([each.path for each in self.paths("a.test", "verdict:deny").rows], ["/v1/other"])
        self.assertEqual(self.paths("a.test", '"other"').records, 1)
        self.assertEqual(self.paths("none.test"), Paths(rows=(), records=0))

    def test_prune(self: Any) -> None:
        """Deleted records leave the list with the hour of the oldest record."""
        self.fill(len(RECORDS))
        self.store.prune(T0 + 2 * HOUR, 1 << 40)
        found = self.destinations("")
        self.assertEqual({each.host: each.records for each in found.rows}, {"b.test": 2, "c.test": 1, "": 1})
        self.store.append([at("a5", 6 * HOUR, "a.test")])
        self.assertEqual(self.named("")["a.test"].first_seen, T0 + 6 * HOUR)
        self.store.prune(NOW, 1 << 40)
        self.assertEqual(self.destinations("").rows, ())

    def test_short_periods_end(self: Any) -> None:
        """Rows of five minutes are deleted after two days; older ranges are rounded to hours."""
        self.fill(len(RECORDS))
        later = NOW + 3 * 86400
        self.store.append([at("z", later - T0, "z.test")])
        self.store.roll_up(later)
        given = parse_filter(f"since:{_time(2 * HOUR + 2 * SHORT)} until:{_time(3 * HOUR + 1)}", later)
        found = self.store.destinations(given, Page(), later)
        self.assertEqual({each.host: each.records for each in found.rows}, {"b.test": 2, "c.test": 1})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(T0 + seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
