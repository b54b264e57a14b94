"""The builds of egressproxy that take part: the source tree as it is, compiled, and as it was before."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.peers.base import PeerFailed, run
from benchmarks.peers.ours import TREE, Ours
from benchmarks.scenarios import BEFORE, COMPILED, PURE

# The files that the build needs.
_COPIED: Final = ("egress", "twisted", "setup.py", "setup.cfg", "pyproject.toml", "README.md")
_NOT_COPIED: Final = shutil.ignore_patterns("__pycache__", "*.so", "build", "dropin.cache")
_DIGEST: Final = "sources.sha256"
_DEADLINE: Final = 1800

# Not within this package: the compiler would take the copy for a part of it.
COPY: Final = TREE / "build" / "benchmarks"


def builds(compiled: Path | None, before: Path | None, before_python: str | None) -> Iterator[Ours]:
    """Return the entrants of this project.

    @param compiled: a source tree with compiled modules.
    @param before: another source tree.
    @param before_python: the Python program for it, or of an environment in which the package is installed.
    """
    if compiled is not None:
        yield Ours(COMPILED, compiled.resolve(), "compiled")
    yield Ours(PURE, build="pure")
    if before is not None or before_python is not None:
        yield Ours(BEFORE, before and before.resolve(), python=before_python or sys.executable)


def digest(tree: Path) -> str:
    """Return a digest of the sources and of the Python program that compiles them."""
    found = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    for path in sorted([*(tree / "egress").rglob("*.py"), *(tree / name for name in _COPIED if "." in name)]):
        found.update(f"{path.relative_to(tree)}\n".encode() + path.read_bytes())
    return found.hexdigest()


def compiled_copy(directory: Path, tree: Path = TREE) -> Path:
    """Compile a copy of a source tree, unless the copy is current.

    Compiled modules in the tree itself would be used instead of their sources from then on.

    @param directory: receives the copy.
    @return: the copy.
    @raise PeerFailed: if it cannot be compiled.
    """
    made, wanted = directory / _DIGEST, digest(tree)
    if made.exists() and made.read_text(encoding="ascii") == wanted:
        return directory
    print("compiling a copy of this source tree, which takes some minutes", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in _COPIED:
        if (tree / name).is_dir():
            shutil.copytree(tree / name, directory / name, ignore=_NOT_COPIED)
        else:
            shutil.copy(tree / name, directory / name)
    jobs = str(os.cpu_count() or 1)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--parallel", jobs]
    try:
        run(command, {"EGRESS_COMPILE": "1"}, cwd=directory, deadline=_DEADLINE)
    except PeerFailed as error:
        raise PeerFailed(
            f"the compiled build needs pip install 'mypy[mypyc]' and the types of setup.cfg: {error}"
        ) from error
    made.write_text(wanted, encoding="ascii")
    return directory
