"""A soak of some seconds: that it runs, and passes.  Longer ones are run by hand: C{docs/reliability.md}."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.soak.__main__ import main
from tests.integration.base import IntegrationTestCase


class SoakTests(IntegrationTestCase):
    """C{python -m benchmarks.soak}."""

    def test_soak(self) -> None:
        """No request without a leave, none without an answer, none without a record."""
        output = Path(tempfile.mkdtemp(dir=self.directory))
        arguments = ["--minutes", "0.3", "--clients", "6", "--seed", "3", "--output", str(output)]
        status = main(arguments)
        self.assertEqual(status, 0, (output / "soak.md").read_text("utf-8"))
