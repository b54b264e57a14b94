"""A soak of some seconds runs, and passes.  C{docs/explanation/reliability.md} is about longer ones, run by hand."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak.__main__ import main


class SoakTests(SynchronousTestCase):
    """C{python -m benchmarks.soak}."""

    def test_soak(self) -> None:
        """No request without an allow, none without an answer, none without a record."""
        output = Path(tempfile.mkdtemp(prefix="egress-test-"))
        self.addCleanup(shutil.rmtree, output, True)
        # This seed has a slow authorization service, an attack by pipelining and one by hanging names.
        status = main(["--minutes", "0.3", "--clients", "6", "--seed", "284", "--output", str(output)])
        self.assertEqual(status, 0, (output / "soak.md").read_text("utf-8"))
