"""The page about stability names things that exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress import __version__, testing

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "stability.md"


class StabilityPageTests(SynchronousTestCase):
    """C{docs/reference/stability.md} against the code."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")
        self.names = re.findall(r"^\| `(egress[\w.]*)` \|", self.text, re.MULTILINE)

    def test_names(self) -> None:
        self.assertGreater(len(self.names), 10)
        for name in self.names:
            module, _, attribute = name.rpartition(".")
            self.assertTrue(hasattr(import_module(module), attribute), name)

    def test_example(self) -> None:
        """An application in the documentation imports only public names, and modules that contain them."""
        public = {name.rpartition(".")[0] for name in self.names} | {"egress.testing"}
        for path in (ROOT / "docs" / "examples").glob("*.py"):
            imported = re.findall(r"^from (egress[\w.]*) import", path.read_text("utf-8"), re.MULTILINE)
            self.assertEqual([name for name in imported if name not in public], [], path.name)
        for name in testing.__all__:
            self.assertTrue(getattr(testing, name).__doc__, name)

    def test_version(self) -> None:
        """The page describes releases before 1.0."""
        self.assertTrue(__version__.startswith("0."), "rewrite the section 'Before 1.0'")
