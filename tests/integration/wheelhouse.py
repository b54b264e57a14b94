"""The wheels of this project and of everything that it needs, for installations without a network."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.processes import ROOT, environment, program

# The Python of the distribution: a service cannot use one below the home directory of a user.
SYSTEM_PYTHON = "/usr/bin/python3"
_SOURCES = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg")


@functools.cache
def wheelhouse() -> Path:
    """Build the wheels for the Python of the distribution, once for each process."""
    program(SYSTEM_PYTHON)
    directory = Path(tempfile.mkdtemp(prefix="egress-wheels-"))
    atexit.register(shutil.rmtree, directory, True)
    source = directory / "source"
    source.mkdir()
    for name in _SOURCES:
        shutil.copy(ROOT / name, source)
    for name in ("egress", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    wheels = directory / "wheels"
    made = subprocess.run(
        [SYSTEM_PYTHON, "-m", "venv", directory / "venv"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise SkipTest(f"{SYSTEM_PYTHON} cannot make environments (python3-venv): {made.stdout}{made.stderr}")
    subprocess.run(
        [directory / "venv" / "bin" / "pip", "--quiet", "wheel", "--wheel-dir", wheels, source],
        env=environment(),
        check=True,
        capture_output=True,
    )
    shutil.rmtree(source)
    shutil.rmtree(directory / "venv")
    return wheels
