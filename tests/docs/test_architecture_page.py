"""The picture of the architecture shows the tree as it is."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.test_layout import PURE

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
LINE = re.compile(r"^(  |    )([a-z0-9_]+)(/|\.py) +(.+)$", re.MULTILINE)


def drawn() -> dict[str, str]:
    """The modules in the page's tree, each with what is said of it; packages end in a slash."""
    tree = PAGE.read_text(encoding="utf-8").partition("\negress/\n")[2].partition("\ntwisted/")[0]
    found = {}
    package = ""
    for indent, name, kind, text in LINE.findall(tree):
        if kind == "/":
            package = f"{name}/"
            found[package] = text
        else:
            found[f"{package if len(indent) == 4 else ''}{name}.py"] = text
    return found


class ArchitecturePageTests(SynchronousTestCase):
    """C{docs/explanation/architecture.md} against the tree."""

    def test_every_module(self) -> None:
        """Each module has a line, and each line a module."""
        egress = ROOT / "egress"
        modules = {path.relative_to(egress).as_posix() for path in egress.rglob("*.py") if path.name != "__init__.py"}
        packages = {f"{path.parent.relative_to(egress).as_posix()}/" for path in egress.glob("*/__init__.py")}
        self.assertEqual(set(drawn()), modules | packages)

    def test_pure(self) -> None:
        """What is called pure is held to it, and the other way round."""
        pure = {
            name.removesuffix("/").removesuffix(".py").replace("/", ".")
            for name, text in drawn().items()
            if text.endswith(". Pure")
        }
        self.assertEqual(pure, set(PURE))
