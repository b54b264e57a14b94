"""The corpus in memory: every case has its expected outcome, and the outcome on the page."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.scorecard.cases import Listener, close
from tests.scorecard.corpus import CASES
from tests.scorecard.judge import Kind, Outcome, judge
from tests.scorecard.memory import PORTS, play
from tests.scorecard.page import PAGE, UNAUTHORIZED, text_of


class CorpusTests(SynchronousTestCase):
    """Hostile clients and origins."""

    def test_ids(self) -> None:
        self.assertEqual([name for name, count in Counter(case.id for case in CASES).items() if count > 1], [])
        self.assertGreater(len(CASES), 800)

    def test_every_case(self) -> None:
        """Each outcome is as expected, has an audit record if it is a rejection, and is on the page."""
        outcomes: dict[str, Outcome] = {}
        for case in CASES:
            seen, records = play(case)
            outcome = outcomes[case.id] = judge(PORTS.of(case), seen)
            with self.subTest(case.id, about=case.about):
                self.assertTrue(outcome.meets(case.must), f"{outcome}; expected: {case.must}")
                if isinstance(outcome.status, str):
                    self.assertEqual([record.verdict for record in records], ["rejected"])
                elif outcome.kind is Kind.REFUSED:
                    self.assertIn(outcome.status, [record.status for record in records])
                # An incomplete message of SOCKS, or a header of a load balancer, is not a request.
                is_request = case.listener in (Listener.HTTP, Listener.SOCKS) and not case.id.endswith("-cut")
                if case.must == close() and is_request:
                    self.assertTrue(records)
                refused = [question for question in seen.questions if not question.allowed]
                self.assertEqual(len(refused), [record.outcome for record in records].count("denied"))
        expected = text_of({name: str(outcome) for name, outcome in outcomes.items()})
        self.assertEqual(
            PAGE.read_text(encoding="utf-8"),
            expected,
            "docs/reference/scorecard.md is stale: python -m tests.scorecard --write",
        )

    def test_our_column(self) -> None:
        """The page reports no unauthorized outcome for this proxy."""
        rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
        ours = [row[3] for row in rows if len(row) > 4]
        self.assertEqual([outcome for outcome in ours if UNAUTHORIZED in outcome], [])
