"""The architecture page shows the tree as it is."""

from __future__ import annotations

import re
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "architecture.md"


class ArchitecturePageTests(SynchronousTestCase):
    """C{docs/explanation/architecture.md} against the code."""

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")

    def test_tree(self) -> None:
        """The tree has each package and each module of the root, in the order of the layers."""
        tree = self.text.partition("\negress/\n")[2].partition("\ntwisted/")[0]
        drawn = re.findall(r"^  ([a-z0-9_]+)(?:/|\.py) +[^ ]", tree, re.MULTILINE)
        contracts = ConfigParser()
        contracts.read(ROOT / ".importlinter", encoding="utf-8")
        layers = contracts["importlinter:contract:layers"]["layers"]
        self.assertEqual(drawn, re.findall(r"[a-z0-9_]+", layers))
        egress = ROOT / "egress"
        names = {path.parent.name for path in egress.glob("*/__init__.py")} | {
            path.stem for path in egress.glob("*.py")
        }
        self.assertEqual(set(drawn), names - {"__init__", "__main__"})

    def test_parts_of_the_design(self) -> None:
        """Each part that the design names is in the module of the table."""
        table = self.text.partition("\n## The parts of the design\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| [^|]+ \| `([a-z_.]+)` \| `(\w+)` \|$", table, re.MULTILINE)
        self.assertEqual(len(rows), 9)
        for module, name in rows:
            part = getattr(import_module(module), name)
            self.assertEqual(getattr(part, "__module__", module), module)
