"""Writes C{docs/reference/modules.md}: each module with the first paragraph of its docstring.

Run C{python -m tests.docs.modules} after a change of a docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.purity import is_pure

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "modules.md"
_HEAD = """# Modules

Each module of `egress` with the first sentence of its docstring. [Architecture](../explanation/architecture.md)
explains how they work together, and the [API reference](api/index.md) describes their classes and functions. A **pure**
module has no transport, no clock and no reactor.

`python -m tests.docs.modules` writes this page; a test compares it with the code.
"""
_LINK = re.compile(r"[LC]\{([^}]*)\}")


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return _LINK.sub(r"`\1`", " ".join(docstring.partition("\n\n")[0].split()))


def page() -> str:
    """Write the page from the code."""
    parts = [_HEAD]
    egress = ROOT / "egress"
    packages = sorted({path.parent for path in egress.rglob("*.py")}, key=lambda path: path.parts)
    for package in packages:
        dotted = ".".join(package.relative_to(ROOT).parts)
        parts.append(f"\n## {dotted}\n\n{_summary(package / '__init__.py')}\n\n| Module | |\n| --- | --- |\n")
        for path in sorted(package.glob("*.py")):
            if path.name != "__init__.py":
                pure = " *Pure.*" if is_pure(f"{dotted}.{path.stem}") else ""
                parts.append(f"| `{path.stem}` | {_summary(path)}{pure} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
