"""Run the tests with the compiled build: C{python tests/compiled.py DIRECTORY [TESTS]}, where the package and mypy are
installed.

The tree is copied into the directory, which is emptied first: compiled modules in a source tree would be used instead
of their sources from then on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".tox", ".hypothesis", ".mypy_cache", ".ruff_cache", "_build", "_trial_temp*"),
    *("build", "dist", "*.so", "__pycache__", "results", ".coverage*"),
)


def main(directory: Path, tests: list[str]) -> int:
    """Compile a copy of the tree, and test it.

    @return: the exit status.
    """
    tree = directory / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT, tree, symlinks=True, ignore=NOT_COPIED)
    python = sys.executable
    compile_all = [python, "setup.py", "-q", "build_ext", "--inplace", "--parallel", str(os.cpu_count() or 1)]
    subprocess.run(compile_all, cwd=tree, env={**os.environ, "EGRESS_COMPILE": "1"}, check=True)
    version = subprocess.run(
        [python, "-m", "egress", "--version"], cwd=tree, check=True, capture_output=True, text=True
    )
    print(version.stdout, end="", flush=True)
    if "compiled build" not in version.stdout:
        return 1
    return subprocess.run([python, "-m", "tests", *tests], cwd=tree, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or ["--unit"]))
