"""The cases of the scorecard over TCP, against the proxy as its users run it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.scorecard.__main__ import our_column
from tests.scorecard.corpus import CASES
from tests.scorecard.page import PAGE, text_of

# Messages are handled in the same way in each of several workers, so one process is enough.
if "EGRESS_TEST_WORKERS" not in os.environ:

    class ScorecardTests(SynchronousTestCase):
        """C{docs/reference/scorecard.md}."""

        def test_every_case(self) -> None:
            """Every case has the required result, which the page documents."""
            directory = Path(tempfile.mkdtemp(prefix="egress-test-"))
            self.addCleanup(shutil.rmtree, directory, True)
            outcomes = our_column(directory)
            wrong = {
                case.id: f"{outcomes[case.id]}; {case.must}" for case in CASES if not outcomes[case.id].meets(case.must)
            }
            self.assertEqual(wrong, {})
            self.assertEqual(
                PAGE.read_text(encoding="utf-8"), text_of({name: str(one) for name, one in outcomes.items()})
            )
