"""Writes the first denial into the README, and C{docs/images/first-denial.svg}: both from a real terminal.

Run C{python -m tests.docs.first_denial} after a change of the command's output; a test compares both with the output.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
README: Final = ROOT / "README.md"
IMAGE: Final = ROOT / "docs" / "images" / "first-denial.svg"

COMMAND: Final = "egress run -- curl https://blocked.example.com"

_BLOCK: Final = re.compile(r"(<!-- first denial -->\n```console\n)(.*?)(```\n)", re.DOTALL)
_WIDTH: Final = 100
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
# It differs each time.
_IDENTIFIER: Final = re.compile(r'("decisionId": ")[0-9a-f]{24}"')
_FIXED: Final = r'\g<1>87fa7eacf7187364188f190d"'
# The fonts of the reader, instead of fonts from another host.
_FONT_FACES: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_FONTS: Final = "Fira Code, ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono"
_TEXTS: Final = re.compile(r'<text class="egress-r[0-9]+" x="[^"]*" y="([^"]*)"[^>]*>([^<]*)</text>')


def output() -> str:
    """Run the command in a terminal.

    @return: its output with the escape sequences of the terminal.
    """
    controller, terminal = os.openpty()
    with tempfile.TemporaryDirectory() as directory:
        # A new user, without a configuration and a CA.
        variables = {
            **{name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "COV_", "PATH"))},
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "HOME": directory,
        }
        command = [sys.executable, "-m", *shlex.split(COMMAND)]
        process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env=variables, cwd=directory
        )
        os.close(terminal)
        content = b""
        try:
            while piece := _read(controller):
                content += piece
            process.wait(60)
        finally:
            process.kill()
            os.close(controller)
    if process.returncode:
        raise AssertionError(content.decode())
    return _IDENTIFIER.sub(_FIXED, content.decode().replace("\r\n", "\n"))


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 1 << 16)
    except OSError:  # Linux: the last process has closed the terminal
        return b""


def as_text(content: str) -> str:
    """Return the output as the README has it."""
    return f"$ {COMMAND}\n{_ESCAPES.sub('', content)}"


def in_readme() -> str:
    """Return the text in the README."""
    match = _BLOCK.search(README.read_text(encoding="utf-8"))
    assert match is not None
    return match[2]


def folded(content: str) -> list[str]:
    """Return the lines of the image: those of a terminal of its width."""
    lines = as_text(content).splitlines()
    return [line[start : start + _WIDTH].rstrip() for line in lines for start in range(0, max(len(line), 1), _WIDTH)]


def in_image() -> list[str]:
    """Return the lines of the image."""
    rows: dict[float, str] = {}
    for row, text in _TEXTS.findall(IMAGE.read_text(encoding="utf-8")):
        rows[float(row)] = rows.get(float(row), "") + unescape(text).replace("\xa0", " ").rstrip("\n")
    return [rows[row].rstrip() for row in sorted(rows)]


def to_image(content: str) -> str:
    """Render the output as an image."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=_WIDTH, file=nowhere, force_terminal=True)
        prompt = Text.assemble(("$ ", "bold green"), (COMMAND, "bold"))
        for line in (prompt, *map(Text.from_ansi, content.splitlines())):
            for start in range(0, max(len(line), 1), _WIDTH):
                console.print(line[start : start + _WIDTH], soft_wrap=True, highlight=False)
    picture = console.export_svg(title="egress run", theme=MONOKAI, unique_id="egress")
    return _FONT_FACES.sub("", picture).replace("Fira Code,", f"{_FONTS},")


if __name__ == "__main__":
    new = output()
    readme = README.read_text(encoding="utf-8")
    README.write_text(_BLOCK.sub(lambda match: match[1] + as_text(new) + match[3], readme), encoding="utf-8")
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(to_image(new), encoding="utf-8")
