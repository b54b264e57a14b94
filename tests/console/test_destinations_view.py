"""Tests for L{egress.console.destinations_view}."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.console.destinations_view import (
    RANGES,
    ROWS,
    SHOWN_PATHS,
    Wanted,
    filter_text,
    host_filter,
    live_link,
    paths_of,
    row_of,
)
from egress.store.destinations import ORDERS, VERDICTS, Destination, Destinations, Durations, Paths
from egress.store.filter_language import Equals, parse_filter
from egress.store.rollups import BOUNDS

NOW = 1_800_000_000.0
PATH = "/console/destinations"


def destination(host: str = "api.example", **values: Any) -> Destination:
    """Return a destination with 1200 requests, of which 30 were denied."""
    verdicts = {**dict.fromkeys(VERDICTS, 0), "allow": 1165, "deny": 30, "unavailable": 4, "failed": 1}
    defaults: dict[str, Any] = {
        "records": 1200,
        "verdicts": verdicts,
        "bytes_sent": 1500,
        "bytes_received": 2_000_000,
        "durations": Durations(1000, 90_000.0, 2500.0, (*[0] * 4, 500, 900, *[1000] * 5)),
        "first": NOW - 7000,
        "last": NOW - 30,
        "first_seen": NOW - 90_000,
    }
    return Destination(host=host, **{**defaults, **values})


def wanted(**parameters: str) -> Wanted:
    return Wanted.parse(PATH, parameters, NOW)


class FilterTextTests(SynchronousTestCase):
    """Filters that the console writes mean what they say."""

    @given(some.text(min_size=1, max_size=20))
    def test_values(self, host: str) -> None:
        """Any name of a host is one value."""
        text = filter_text(("rule", host), ("verdict", "deny"))
        rule, verdict = parse_filter(text, NOW).conditions
        self.assertEqual((rule.tests, verdict.tests), ((Equals(host),), (Equals("deny"),)))

    def test_link(self) -> None:
        link = live_link(("host", "[::1]"), ("path", "/a b"))
        self.assertEqual(parse_qs(urlsplit(link).query)["q"], ['host:[::1] path:"/a b"'])


class WantedTests(SynchronousTestCase):
    """The parameters of the list."""

    def test_defaults(self) -> None:
        for parameters in ({}, {"range": "x", "sort": "x; DROP", "dir": "x", "page": "-1"}, {"page": "0"}):
            found = wanted(**parameters)
            self.assertEqual((found.range, found.order, found.descending, found.page), ("1d", "records", True, 1))
            assert found.given is not None
            self.assertEqual(found.given.since, NOW - 86400)
            self.assertEqual(found.link(), PATH)

    def test_ranges(self) -> None:
        for name, (_, seconds) in RANGES.items():
            found = wanted(range=name).given
            assert found is not None
            self.assertEqual(found.since, None if seconds is None else NOW - seconds)

    def test_time_in_filter(self) -> None:
        """A time in the filter replaces the range."""
        found = wanted(q="since:2h", range="7d")
        assert found.given is not None
        self.assertEqual((found.given.since, found.range), (NOW - 7200, ""))
        self.assertEqual([each.current for each in found.ranges], [False] * len(RANGES))

    def test_error(self) -> None:
        found = wanted(q="host:a verdct:deny")
        self.assertIsNone(found.given)
        self.assertEqual(found.error, "Character 8: there is no field verdct: did you mean verdict?")

    def test_columns(self) -> None:
        """The current column reverses the order; the others begin with the order that is useful."""
        columns = {each.text: each for each in wanted(q="host:a").columns}
        self.assertEqual(columns["Requests"].path, f"{PATH}?q=host%3Aa&dir=asc")
        self.assertEqual((columns["Requests"].sorted, columns["Denied"].sorted), ("descending", ""))
        self.assertEqual(columns["Destination"].path, f"{PATH}?q=host%3Aa&sort=host")
        columns = {each.text: each for each in wanted(sort="host").columns}
        self.assertEqual(
            (columns["Destination"].sorted, columns["Destination"].path), ("ascending", f"{PATH}?sort=host&dir=desc")
        )

    def test_orders_exist(self) -> None:
        for each in wanted().columns:
            order = parse_qs(urlsplit(each.path).query).get("sort", ["records"])[0]
            self.assertIn(order, ORDERS)

    def test_round_trip(self) -> None:
        """A link leads to what it says."""
        found = wanted(q='host:a "x y"', range="7d", sort="deny", dir="asc", new="1", page="3")
        link = found.link(page=3)
        again = wanted(**{name: values[-1] for name, values in parse_qs(urlsplit(link).query).items()})
        self.assertEqual(again, found)
        self.assertEqual(found.rows.offset, 2 * ROWS)
        self.assertEqual(found.rows.new_since, NOW - 86400)
        self.assertEqual(found.hidden, [("range", "7d"), ("sort", "deny"), ("new", "1")])
        self.assertEqual([each.current for each in found.kinds], [False, True])

    def test_pages(self) -> None:
        self.assertEqual(wanted().pages(Destinations(rows=(), hosts=100, records=1)), (None, None))
        before, after = wanted(page="2").pages(Destinations(rows=(), hosts=201, records=1))
        self.assertEqual((before, after), (PATH, f"{PATH}?page=3"))


class RowTests(SynchronousTestCase):
    """The rows of the list."""

    def test_row(self) -> None:
        row = row_of(destination(), NOW)
        self.assertEqual((row.name, row.path), ("api.example", f"{PATH}/api.example"))
        self.assertEqual((row.requests, row.denied, row.other), ("1\u202f200", "30", "5"))
        self.assertEqual((row.received, row.sent), ("2.0 MB", "1.5 kB"))
        self.assertEqual((row.median, row.slow, row.longest), ("100 ms", "375 ms", "2.5 s"))
        self.assertEqual((row.first_ago, row.last_ago, row.is_new), ("25 h ago", "30 s ago", False))
        self.assertIn("host%3Aapi.example+verdict%3Adeny", row.denied_path)
        self.assertIn("verdict%3Aunavailable%2Crejected%2Cfailed", row.other_path)

    def test_new(self) -> None:
        self.assertTrue(row_of(destination(first_seen=NOW - 86399), NOW).is_new)

    def test_no_host(self) -> None:
        row = row_of(destination("", first_seen=NOW), NOW)
        self.assertEqual((row.name, row.path, row.is_new, row.other_path), ("(invalid requests)", "", False, ""))

    def test_hostile_host(self) -> None:
        row = row_of(destination('a"><script>/../'), NOW)
        self.assertEqual(row.path, f"{PATH}/a%22%3E%3Cscript%3E%2F..%2F")

    def test_nothing(self) -> None:
        durations = Durations(0, 0.0, 0.0, (0,) * len(BOUNDS))
        row = row_of(destination(verdicts=dict.fromkeys(VERDICTS, 0), durations=durations), NOW)
        self.assertEqual((row.denied, row.other, row.median, row.longest), ("", "", "\u2013", "\u2013"))


class PathTests(SynchronousTestCase):
    """The paths of a destination are grouped."""

    def paths(self, *found: Destination) -> Any:
        return paths_of("api.example", Paths(rows=found, records=9, limited=True), NOW)

    def test_groups(self) -> None:
        one = destination(method="GET", path="/users/1", records=2)
        found = self.paths(
            one,
            attrs.evolve(one, path="/users/2", last=NOW - 5, bytes_sent=500),
            attrs.evolve(one, path="/users/2", method="POST", records=3),
            attrs.evolve(one, path="", method="CONNECT", records=1),
            # A request that could not be parsed.
            attrs.evolve(one, path="", method="", records=1),
        )
        self.assertEqual(
            [(row.method, row.name, row.requests) for row in found.rows],
            [("GET", "/users/*", "4"), ("POST", "/users/*", "3"), ("", "(no path)", "1"), ("CONNECT", "(tunnel)", "1")],
        )
        first = found.rows[0]
        self.assertEqual(
            (first.denied, first.sent, first.last_ago, first.median), ("60", "2.0 kB", "5.0 s ago", "100 ms")
        )
        self.assertEqual(parse_qs(urlsplit(first.path).query)["q"], ["host:api.example path:/users/* method:GET"])
        self.assertEqual(parse_qs(urlsplit(found.rows[3].path).query)["q"], ["host:api.example method:CONNECT"])
        self.assertTrue(found.limited)

    def test_many(self) -> None:
        rows = [
            destination(method="GET", path=f"/{number:b}".translate({48: "x", 49: "y"}))
            for number in range(1, SHOWN_PATHS + 8)
        ]
        found = self.paths(*rows)
        self.assertEqual((len(found.rows), found.more), (SHOWN_PATHS, 7))

    def test_host_filter(self) -> None:
        found = host_filter("a", parse_filter("host:b method:GET", NOW))
        self.assertEqual([each.field for each in found.conditions], ["host", "method", "host"])
