"""Tests for L{egress.store.parts}, with real files."""

from __future__ import annotations

from egress.store import parts as module
from egress.store.filter_language import parse_filter
from tests.store.search_cases import T0, record
from tests.store.test_sqlite import StoreTestCase


class PartsTests(StoreTestCase):
    """The parts of the index."""

    def parts(self) -> list[tuple[int, int]]:
        """Return the numbers of the parts of the index, and of their records."""
        rows = self.store.rows("SELECT number, records FROM parts ORDER BY number")
        return [(int(number), int(records)) for number, records in rows]

    def tables(self) -> set[str]:
        found = self.store.rows("SELECT name FROM sqlite_master WHERE name GLOB 'keywords_[0-9]' ORDER BY name")
        return {str(name) for (name,) in found}

    def test_parts_of_the_index(self) -> None:
        """A full part gets no records, and a part without records is dropped."""
        self.patch(module, "_PART_RECORDS", 300)
        for start in range(0, 1000, 100):
            self.store.append([record(f"r{start + number}", start + number) for number in range(100)])
        self.store.append([record("late", 50)])
        self.assertEqual(self.parts(), [(1, 300), (2, 300), (3, 300), (4, 101)])
        # The order is that of the whole store, not that of its parts.
        newest_first = self.found("api")
        self.assertEqual(newest_first, self.found(""))
        self.assertEqual(newest_first.index("late"), newest_first.index("r50") - 1)
        for limit in (1, 99, 100, 101, 350, 1000, 1001, 2000):
            for oldest_first in (False, True):
                with self.subTest(limit=limit, oldest_first=oldest_first):
                    expected = newest_first[::-1] if oldest_first else newest_first
                    self.assertEqual(self.found("api", limit, oldest_first=oldest_first), expected[:limit])
        self.prune(T0 + 650)
        # The last part has deleted records, so that the next one begins.
        self.assertEqual(self.parts(), [(3, 300), (4, 300)])
        self.assertEqual(self.tables(), {"keywords_3", "keywords_4"})
        self.store.append([record("new", 2000)])
        self.assertEqual(self.parts()[-1], (5, 1))
        self.assertEqual(self.found("api", 2), ["new", "r999"])
        self.assertEqual(self.store.statistics(parse_filter("api", 0), 1)["records"], 351)
        self.prune(T0 + 3000)
        self.assertEqual((self.parts(), self.tables(), self.found("api"), self.found("")), ([], set(), [], []))
        self.store.append([record("again", 3000)])
        self.assertEqual(self.found("api"), ["again"])

    def prune(self, before: float) -> None:
        while self.store.prune(before, 1 << 40):
            pass
