"""A soak test of some seconds passes.  C{docs/explanation/reliability.md} describes longer, manual runs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak.__main__ import main


class SoakTests(SynchronousTestCase):
    """C{python -m benchmarks.soak}."""

    def test_soak(self) -> None:
        """Every request has an allow, a response and a record."""
        output = Path(tempfile.mkdtemp(prefix="egress-test-"))
        self.addCleanup(shutil.rmtree, output, True)
        # This seed has a slow authorization service, an attack by pipelining and one by hanging names.
        status = main(["--minutes", "0.3", "--clients", "6", "--seed", "284", "--output", str(output)])
        self.assertEqual(status, 0, (output / "soak.md").read_text("utf-8"))
