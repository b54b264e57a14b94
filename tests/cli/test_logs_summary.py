"""Tests for L{egress.cli.logs_summary}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.cli.logs_summary import summarize, to_markdown, to_text
from egress.store.filter_language import Filter, parse_filter
from egress.store.sqlite import open_store
from tests.files import make_directory
from tests.observability.records import ALLOWED

DENIED = attrs.evolve(
    ALLOWED, request_id="2", time=ALLOWED.time + 1, verdict="deny", rule_id="no-admin", url="https://a|`b.test/"
)


class SummaryTests(SynchronousTestCase):
    """Summaries of a store."""

    def setUp(self) -> None:
        self.store = open_store(make_directory(self) / "audit.db")
        self.addCleanup(self.store.close)
        self.store.append([ALLOWED, DENIED])

    def test_summarize(self) -> None:
        found = summarize(self.store, Filter())
        self.assertEqual((found["all"]["records"], found["denied"]["records"]), (2, 1))
        found = summarize(self.store, parse_filter("verdict:allow", 0))
        self.assertEqual((found["all"]["records"], found["denied"]["records"]), (1, 0))

    def test_text(self) -> None:
        self.assertEqual(
            to_text(summarize(self.store, Filter())),
            "2 records from 2023-11-14T22:13:20.250Z to 2023-11-14T22:13:21.250Z, 1 denied\n"
            "\nVerdicts\n         1  allow\n         1  deny\n"
            "\nHosts of denied requests\n         1  a|`b.test\n"
            "\nRules of denied requests\n         1  no-admin\n"
            "\nHosts\n         1  api.example.com\n         1  a|`b.test\n"
            "\nRules\n         1  items-write\n         1  no-admin\n",
        )

    def test_markdown(self) -> None:
        """A host cannot end its cell."""
        found = to_markdown(summarize(self.store, Filter()))
        self.assertIn(
            "\n### Hosts of denied requests\n\n| Host | Records |\n| --- | ---: |\n| `a%7C'b.test` | 1 |\n", found
        )

    def test_no_records(self) -> None:
        empty = summarize(self.store, parse_filter("id:none", 0))
        self.assertEqual(to_text(empty), "No records match.\n")
        self.assertEqual(to_markdown(empty), "## Requests\n\nNo records match.\n")
