"""Run the tests with the compiled build: C{python tests/compiled.py [--wheel] DIRECTORY [TESTS]}, where the package and
mypy are installed.

The tree is copied into the directory, which is emptied first: compiled modules in a source tree would be used instead
of their sources from then on.  With C{--wheel}, a wheel is built from the compiled modules too, installed into a clean
environment, and tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".tox", ".hypothesis", ".mypy_cache", ".ruff_cache", "_build", "_trial_temp*"),
    *("*.so", "__pycache__", "node_modules", "results", ".coverage*"),
)
# Only here: packages have directories of these names too.
BUILT = {"build", "dist"}
NODE_MODULES = Path("tests", "integration", "node_modules")


def copy(tree: Path) -> None:
    """Copy the sources; the programs of npm are shared."""

    def not_copied(directory: str, names: list[str]) -> set[str]:
        return {*NOT_COPIED(directory, names), *(BUILT.intersection(names) if Path(directory) == ROOT else ())}

    shutil.copytree(ROOT, tree, symlinks=True, ignore=not_copied)
    if (ROOT / NODE_MODULES).exists():
        (tree / NODE_MODULES).symlink_to((ROOT / NODE_MODULES).resolve())


def try_wheel(wheels: Path, clean: Path) -> None:
    """Install the wheel into a clean environment, and try it without a compiler."""
    (wheel,) = wheels.iterdir()
    if wheel.name.endswith("-any.whl"):
        raise SystemExit(f"{wheel.name} is for any system")
    venv.create(clean, clear=True, with_pip=True)
    environment = {**os.environ, "CC": "false", "EGRESS_COMPILE": "", "PYTHONPATH": ""}
    python = clean / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", wheel], env=environment, check=True)
    subprocess.run([python, "-I", ROOT / "tests" / "smoke.py", "compiled"], env=environment, check=True)
    print(f"{wheel.name} works in a clean environment", flush=True)


def main(directory: Path, tests: list[str], wheel: bool) -> int:
    """Compile a copy of the tree, and test it.

    @param wheel: whether to try a wheel of it too.
    @return: the exit status.
    """
    tree, wheels = directory / "tree", directory / "wheels"
    for old in (tree, wheels):
        shutil.rmtree(old, ignore_errors=True)
    copy(tree)
    python = sys.executable
    compile_all = [python, "setup.py", "-q", "build_ext", "--inplace", "--parallel", str(os.cpu_count() or 1)]
    if wheel:
        # In the same run: the modules are compiled once.
        compile_all += ["bdist_wheel", "--dist-dir", str(wheels)]
    subprocess.run(compile_all, cwd=tree, env={**os.environ, "EGRESS_COMPILE": "1"}, check=True)
    version = subprocess.run(
        [python, "-m", "egress", "--version"], cwd=tree, check=True, capture_output=True, text=True
    )
    print(version.stdout, end="", flush=True)
    if "compiled build" not in version.stdout:
        return 1
    if wheel:
        try_wheel(wheels, directory / "clean")
    variables = {**os.environ, "EGRESS_TEST_BUILD": "compiled"}
    return subprocess.run([python, "-m", "tests", *tests], cwd=tree, env=variables, check=False).returncode


if __name__ == "__main__":
    wheel = sys.argv[1:2] == ["--wheel"]
    directory, *tests = sys.argv[2:] if wheel else sys.argv[1:]
    sys.exit(main(Path(directory), tests or ["--unit"], wheel))
