"""Tests for L{egress.store.destinations}, with SQLite."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store import destinations as module
from egress.store.destinations import Durations, Page
from egress.store.filter_language import parse_filter
from egress.store.rollups import BOUNDS
from egress.store.sqlite import SqliteStore, open_store
from tests.files import make_directory
from tests.store.destination_cases import RECORDS, DestinationCases
from tests.store.test_sqlite import StoreTestCase

SINCE = "2023-11-14T22:13:00Z"


class SqliteDestinationTests(DestinationCases, StoreTestCase):
    """Lists of destinations in SQLite."""

    def open_new(self) -> SqliteStore:
        """Open a store without records."""
        store = open_store(make_directory(self) / "new.db")
        self.addCleanup(store.close)
        return store

    def test_limits(self) -> None:
        """A query that cannot use rollups reads a limited number of records."""
        self.fill(len(RECORDS))
        with mock.patch.object(module, "MAX_RECORDS", 1):
            found = self.destinations("outcome:forwarded,bad-request")
        self.assertEqual((found.limited, [each.host for each in found.rows]), (True, ["", "c.test"]))
        with mock.patch.object(module, "MAX_RECORDS", 1):
            found = self.destinations(f"since:{SINCE} outcome:forwarded,bad-request")
        self.assertEqual([each.host for each in found.rows], ["", "c.test"])
        with mock.patch.object(module, "MAX_OF_HOST", 2):
            paths = self.paths("a.test")
        self.assertEqual((paths.limited, paths.records), (True, 2))
        self.assertEqual([each.path for each in paths.rows], ["/v1/items", "/v1/other"])
        with mock.patch.object(module, "MAX_PATHS", 1):
            paths = self.paths("a.test")
        self.assertEqual((paths.limited, paths.records, len(paths.rows)), (True, 3, 1))


class StatementTests(SynchronousTestCase):
    """The query for the records of a filter."""

    def test_one_lower_bound(self) -> None:
        """SQLite uses one lower bound of the ids; it would test the records between several."""
        for text in ("path:/v1/*/items", "path:/v1/*/items since:1d"):
            found = module.destinations_statement(parse_filter(text, 1e9), Page(), 1e9).text
            outer = found.partition("coalesce((SELECT")[0]
            self.assertEqual(outer.count("exchanges.id >="), 1, text)


def durations_of(*values: float) -> Durations:
    within = tuple(sum(value <= bound for value in values) for bound in BOUNDS)
    return Durations(len(values), sum(values), max(values, default=0.0), within)


class DurationsTests(SynchronousTestCase):
    """Quantiles are estimates between the bounds."""

    def test_none(self) -> None:
        self.assertIsNone(durations_of().quantile(0.5))

    def test_estimates(self) -> None:
        self.assertEqual(durations_of(7.0).quantile(0.5), 6.0)
        self.assertEqual(durations_of(1.0, 2.0, 3.0, 90000.0).quantile(0.99), 90000.0)
        self.assertEqual(durations_of(*[20.0] * 10).quantile(0.95), 19.5)

    @given(some.lists(some.floats(0.001, 20000.0), min_size=1), some.floats(0.01, 1.0))
    def test_in_range(self, values: list[float], share: float) -> None:
        """An estimate is in the same range as the quantile, and never more than the longest duration."""
        found = durations_of(*values).quantile(share)
        assert found is not None
        exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
        low = max((bound for bound in BOUNDS if bound < exact), default=0)
        self.assertLessEqual(found, max(values))
        self.assertGreaterEqual(found, low)
