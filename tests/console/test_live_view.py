"""Tests for L{egress.console.live_view}."""

from __future__ import annotations

from urllib.parse import parse_qs

from twisted.trial.unittest import SynchronousTestCase

from egress.console.live_view import ROWS, Wanted, link_to, row_of
from tests.console.browser import NOW, record


class RowTests(SynchronousTestCase):
    """The row of a record."""

    def test_row(self) -> None:
        row = row_of(record(requestId="a/b", identity="ci", durationMs=1234.5))
        self.assertEqual((row.link, row.client, row.duration), ("/console/requests/a%2Fb", "ci", "1.2 s"))
        self.assertEqual((row.verdict, row.kind, row.rule, row.status), ("deny", "bad", "no-admin", "403"))

    def test_missing_values(self) -> None:
        row = row_of(record(ruleId=None, status=None, client="[2001:db8::1]:40000"))
        self.assertEqual((row.rule, row.status, row.client), ("policy", "\u2013", "[2001:db8::1]"))

    def test_proxy(self) -> None:
        """The records of several proxies name the proxy."""
        self.assertEqual(row_of(record(identity="ci", node="proxy-1", worker=0)).client, "ci via proxy-1")

    def test_observed(self) -> None:
        row = row_of(record(verdict="allow", observed="deny"))
        self.assertEqual((row.verdict, row.kind), ("allow (observed: deny)", "warn"))


class WantedTests(SynchronousTestCase):
    """Filters, and pages of older records."""

    def test_error(self) -> None:
        wanted = Wanted.parse("host:a verdct:deny", "", NOW)
        self.assertIsNone(wanted.given)
        self.assertEqual(wanted.mark, ("host:a ", "verdct:deny"))
        self.assertIn("did you mean verdict?", wanted.error)

    def test_pages(self) -> None:
        """Each record is on one page, also those of the same millisecond."""
        records = [
            record(requestId=str(number), time=f"2027-01-15T08:00:00.{number // 3:03}Z") for number in range(250)
        ]
        records.reverse()
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            wanted = Wanted.parse("host:a", cursor, NOW)
            assert wanted.given is not None
            until = wanted.given.until
            found = [one for one in records if until is None or _seconds(one["time"]) < until]
            rows, older = wanted.page_of(found[: wanted.limit])
            seen += [row.id for row in rows]
            cursor = None if older is None else parse_qs(older.partition("?")[2])["before"][0]
        self.assertEqual(seen, [one["requestId"] for one in records])

    def test_last_page(self) -> None:
        self.assertEqual(Wanted.parse("", "", NOW).page_of([record()] * ROWS)[1], None)

    def test_until(self) -> None:
        """A filter that ends earlier still ends there."""
        wanted = Wanted.parse("until:2h", "2027-01-15T08:00:00.000Z~x", NOW)
        assert wanted.given is not None
        self.assertEqual(wanted.given.until, NOW - 7200)

    def test_invalid_cursors(self) -> None:
        for cursor in ("x", "~", "2027~a~b", "2027-01-15T08:00:00.000Z", "2027-01-15~a", "9" * 99 + "~a", "\x00~"):
            with self.subTest(cursor):
                self.assertIsNone(Wanted.parse("", cursor, NOW).before)

    def test_links(self) -> None:
        self.assertEqual(link_to(""), "/console/live")
        self.assertEqual(link_to('host:a "b&c"', "t~1"), "/console/live?q=host%3Aa+%22b%26c%22&before=t~1")


def _seconds(time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
