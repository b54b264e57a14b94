"""The pure modules, as C{.importlinter} lists them, and their coverage: C{python -m tests.purity}."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def pure_units() -> list[str]:
    """Return the packages and modules that must not use Twisted, as dotted names."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter", encoding="utf-8")
    return parser["importlinter:contract:pure"]["source_modules"].split()


def is_pure(module: str) -> bool:
    """Return whether a module is a pure module, or in a pure package."""
    return any(f"{module}.".startswith(f"{unit}.") for unit in pure_units())


def patterns() -> list[str]:
    """Return their files, as patterns for C{coverage}."""
    return [
        f"{path}/*" if (ROOT / path).is_dir() else f"{path}.py"
        for path in (unit.replace(".", "/") for unit in pure_units())
    ]


if __name__ == "__main__":
    coverage = [sys.executable, "-m", "coverage", "report", "--fail-under=100", f"--include={','.join(patterns())}"]
    sys.exit(subprocess.call(coverage, cwd=ROOT))
