"""Packages of npm that peers use."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from benchmarks.peers.base import HERE, run, version_in

_VARIABLE = "EGRESS_BENCH_NODE_MODULES"


def node_modules() -> Path:
    """Return the directory of the packages."""
    return Path(os.environ.get(_VARIABLE) or HERE.parent / "node_modules").absolute()


def missing_package(name: str) -> str | None:
    """Return how to install Node.js, a package of Debian, or a package of npm; C{None} if both are installed."""
    if shutil.which("node") is None:
        return "apt-get install nodejs npm"
    if not (node_modules() / name).is_dir():
        return (
            f"npm install --prefix benchmarks --no-save --no-package-lock {name},"
            f" or elsewhere with {_VARIABLE}=DIR/node_modules"
        )
    return None


def package_version(name: str) -> str:
    """Return the versions of a package and of Node.js."""
    package = json.loads((node_modules() / name / "package.json").read_text(encoding="utf-8"))
    return f"{package['version']} (Node.js {version_in(run(['node', '--version']))})"
