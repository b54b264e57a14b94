"""Tests for L{egress.store.postgresql_partitions}; L{tests.integration.test_postgresql_partitions} has a server."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.store.postgresql_partitions import COUNT_BYTES, DAY_MS, DELETE, MIGRATION, day_of, day_start, days_of
from egress.store.postgresql_row import encode_row
from egress.store.schema import MAX_ID, first_id
from tests.store.search_cases import T0, record


class DayTests(SynchronousTestCase):
    """The days of times and of rows."""

    def test_day(self) -> None:
        self.assertEqual((day_of(0.0), day_of(86399.999), day_of(86400.0)), (0, 0, 1))
        for seconds in (86400.0, 100_000.5, 172_799.999):
            self.assertEqual(day_start(seconds), 86400.0)

    def test_rows(self) -> None:
        day = day_of(T0)
        lines = [encode_row(record(name, seconds)) for name, seconds in (("a", 0), ("b", 1), ("c", 86400))]
        self.assertEqual(days_of(lines), {day, day + 1})
        self.assertEqual(days_of([]), set())

    def test_damaged_rows(self) -> None:
        for line in (b"", b"{}", b'{"x":5,', b'{"time_ms":', b'{"time_ms":x,', b'{"time_ms":5', b'{"time_ms":-5,}'):
            self.assertRaises(ValueError, days_of, [line])

    def test_last_day(self) -> None:
        """Each accepted time has an id, and its day has an end."""
        last = MAX_ID // first_id(DAY_MS) - 1
        self.assertEqual(days_of([b'{"time_ms":%d,}' % (last * DAY_MS + DAY_MS - 1)]), {last})
        self.assertLessEqual(first_id((last + 1) * DAY_MS), MAX_ID)
        self.assertRaises(ValueError, days_of, [b'{"time_ms":%d,}' % ((last + 1) * DAY_MS)])

    def test_many_days(self) -> None:
        """A transaction creates a limited number of partitions."""
        lines = [b'{"time_ms":%d,}' % (day * DAY_MS) for day in range(31)]
        self.assertEqual(len(days_of(lines[:30])), 30)
        self.assertRaises(ValueError, days_of, lines)


class StatementTests(SynchronousTestCase):
    """Statements and their placeholders."""

    def test_placeholders(self) -> None:
        self.assertEqual((DELETE.count("?"), COUNT_BYTES.count("?")), (2, 0))

    def test_functions(self) -> None:
        """Functions with the rights of the owner use only its tables, and not everyone can call them."""
        functions = [each for each in MIGRATION if each.startswith("CREATE FUNCTION")]
        for each in functions:
            self.assertIn("SECURITY DEFINER SET search_path = egress, pg_temp", each)
            name = each.removeprefix("CREATE FUNCTION ").partition("(")[0]
            (revoke,) = (statement for statement in MIGRATION if statement.startswith("REVOKE ALL"))
            self.assertIn(f"{name}(", revoke)
        self.assertEqual(len(functions), 2)
