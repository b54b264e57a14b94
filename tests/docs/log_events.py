"""Writes the table of log events in C{docs/reference/names.md}.

Run C{python -m tests.docs.log_events} after a change of a log message.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reference" / "names.md"
_HEADING = "## Log events\n"
_INTRODUCTION = """
The process log of `twistd` contains these messages. The names in braces are fields of the event for a log observer of
Twisted, and `log_namespace` is the module. The level `critical` has a traceback. `python -m tests.docs.log_events`
writes this table.

| Module | Level | Message |
| --- | --- | --- |
"""
_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "error": "error",
    "critical": "critical",
    "failure": "critical",
}


def _calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the message and the level of each call of a logger."""
    constants = {
        node.target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        target, message = node.func.value, node.args[0]
        if isinstance(message, ast.Name) and message.id in constants:
            message = ast.Constant(constants[message.id])
        name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if name == "_log" and node.func.attr in _LEVELS and isinstance(message, ast.Constant):
            yield str(message.value), _LEVELS[node.func.attr]


def section() -> str:
    """Write the section from the code."""
    rows = []
    for path in sorted((ROOT / "egress").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for message, level in sorted(set(_calls(ast.parse(path.read_text(encoding="utf-8"))))):
            rows.append(f"| `{module}` | {level} | `{message}` |\n")
    return _HEADING + _INTRODUCTION + "".join(rows)


def page(text: str) -> str:
    """Replace the section in the text of the page."""
    return text.partition(_HEADING)[0] + section()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
