"""Tests for L{egress.launch.report}."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.report import to_json, to_markdown
from egress.launch.summary import Summary
from tests.launch.test_summary import DENIED, POLICY
from tests.observability.records import ALLOWED

AWKWARD = attrs.evolve(DENIED, url="https://a.test/`|<img>", reason="a|b\n`c`")


RULE = "default, because no rule matches"


class ReportTests(SynchronousTestCase):
    """The summary as a file."""

    def setUp(self) -> None:
        self.summary = Summary(policy=POLICY)
        for record in (ALLOWED, DENIED, DENIED):
            self.summary.write(record)

    def test_json(self) -> None:
        document = json.loads(to_json(self.summary))
        fix = document.pop("fix")
        self.assertEqual(fix["instruction"], "To allow this, review it, and add it to policy.toml:")
        self.assertIn('hosts = ["blocked.test"]', fix["policy"])
        refusal = {"code": "denied", "method": "GET", "url": "https://blocked.test/a", "reason": "no rule allows it"}
        refusal["rule"] = RULE
        self.assertEqual(
            document,
            {
                "requests": 3,
                "allowed": 1,
                "refused": 2,
                "failed": 0,
                "observed": 0,
                "notStored": 0,
                "refusals": [{**refusal, "requests": 2}],
                "failures": [],
                "newDestinations": None,
                "destinations": {"api.example.com:443": 1},
            },
        )

    def test_documentation(self) -> None:
        """The documentation has each member."""
        page = Path(__file__).parent.parent.parent / "docs" / "how-to" / "run.md"
        text = page.read_text(encoding="utf-8")
        for name in json.loads(to_json(self.summary)):
            self.assertRegex(text, rf"\n\| (`\w+`, )*`{name}`(, `\w+`)* \| ")

    def test_markdown(self) -> None:
        lines = to_markdown(self.summary).splitlines()
        for line in (
            "| 3 | 1 | 2 | 0 | 0 |",
            f"| `GET https://blocked.test/a` | 2 | `denied` | `no rule allows it` | `{RULE}` |",
            "| `api.example.com:443` | 1 |",
            "```toml",
        ):
            self.assertIn(line, lines)

    def test_markup(self) -> None:
        """A client cannot add markup to the page of a job."""
        self.summary.write(AWKWARD)
        text = to_markdown(self.summary)
        self.assertIn(f"| `GET https://a.test/??<img>` | 1 | `denied` | `a?b??c?` | `{RULE}` |", text)

    def test_failures(self) -> None:
        """Allowed requests that failed are listed with their reasons."""
        lost = attrs.evolve(ALLOWED, url="http://typo.test/a?b", outcome="name-not-resolved", reason="no address")
        self.summary.write(lost)
        failure = {"code": "name-not-resolved", "method": "POST", "url": "http://typo.test/a", "reason": "no address"}
        self.assertEqual(json.loads(to_json(self.summary))["failures"], [{**failure, "requests": 1}])
        row = "| `POST http://typo.test/a` | 1 | `name-not-resolved` | `no address` |"
        self.assertIn(row, to_markdown(self.summary).splitlines())

    def test_new_destinations(self) -> None:
        self.summary.new_destinations = ["GET     https://new.test"]
        self.assertEqual(json.loads(to_json(self.summary))["newDestinations"], ["GET     https://new.test"])
        self.assertIn("| `GET     https://new.test` |", to_markdown(self.summary).splitlines())

    def test_nothing(self) -> None:
        self.assertEqual(len(to_markdown(Summary()).splitlines()), 5)
