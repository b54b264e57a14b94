"""The page about answers has every fault there is, as it is."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import KIB, Limits
from egress.grpc.error_status import STATUSES
from egress.model.errors import OUTCOMES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\d{3}|closed) \| `([a-z-]+)` \| `([a-z_]+)` \| (.+) \|$", re.MULTILINE)


class ErrorsPageTests(SynchronousTestCase):
    """C{docs/reference/errors.md} against L{egress.model.errors}."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")
        self.rows = ROW.findall(self.text)

    def test_every_code(self) -> None:
        """Each code once, with its status, its stage and its error for C{Proxy-Status}."""
        expected = []
        for outcome in OUTCOMES.values():
            status = "closed" if outcome.status is None else str(outcome.status.value)
            expected.append((outcome.code, status, outcome.stage, outcome.proxy_error))
        self.assertEqual(sorted(row[:4] for row in self.rows), sorted(expected))

    def test_grpc_statuses(self) -> None:
        """Each code has one gRPC status."""
        rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|$", self.text, re.MULTILINE)
        listed = [(code, status) for status, codes in rows for code in re.findall(r"`([a-z0-9-]+)`", codes)]
        expected = [(OUTCOMES[error].code, status.name) for error, status in STATUSES.items()]
        self.assertEqual(sorted(listed), sorted(expected))

    def test_advice(self) -> None:
        """Each says something."""
        self.assertEqual([row[0] for row in self.rows if len(row[4]) < 20], [])

    def test_limits(self) -> None:
        """The bounds that the page names are the defaults."""
        limits = Limits()
        self.assertIn(f"over {limits.target // KIB} KiB", self.text)
        self.assertIn(f"over {limits.head // KIB} KiB or has more than {limits.fields} fields", self.text)
