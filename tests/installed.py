"""Build the distributions, install the wheel into a clean environment, and check the result.

C{python tests/installed.py DIRECTORY}, where C{build} and C{twine} are installed; the directory is emptied first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Files that an sdist needs so that others can build, test and document from it.
IN_SDIST = (
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "tox.ini",
    "docs/conf.py",
    "egress/py.typed",
    "egress/policy/starter.toml",
    "egress/policy/templates/npm.toml",
    "tests/test_layout.py",
    "tests/install",
    "tests/integration/__init__.py",
    "twisted/plugins/egressauthz.py",
    "twisted/plugins/egressproxy.py",
)
IN_WHEEL = (
    "egress/__init__.py",
    "egress/py.typed",
    "egress/policy/starter.toml",
    "egress/policy/templates/npm.toml",
    "twisted/plugins/egressauthz.py",
    "twisted/plugins/egressproxy.py",
)
# Each program, and an option in its help.
PROGRAMS = {"egressauthz": "--token-file", "egressproxy": "--authz-url"}
NO_HOP = ("dropin.cache", "__pycache__", "node_modules", "_trial_temp", ".pyc")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a program that must succeed, and return its output."""
    print("+", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}failed with status {done.returncode}")
    return done.stdout + done.stderr


def check_names(archive: Path, names: set[str], needed: tuple[str, ...]) -> None:
    """Compare the contents of an archive with the required and the forbidden names."""
    missing = [name for name in needed if name not in names]
    stray = [name for name in sorted(names) if any(part in name for part in NO_HOP)]
    if missing or stray:
        raise SystemExit(f"{archive.name} lacks {missing} and should not have {stray}")
    print(f"{archive.name}: {len(names)} files")


def tracked() -> tuple[str, ...]:
    """Return the files that git tracks here: the sdist contains all of them.

    @return: an empty tuple outside a clone.
    """
    return tuple(filter(None, run("git", "ls-files", "-z").split("\0"))) if (ROOT / ".git").exists() else ()


def build(directory: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it.

    @return: their paths.
    """
    run(sys.executable, "-m", "build", "--outdir", directory, ROOT)
    (sdist,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    return sdist, wheel


def check(directory: Path) -> None:
    """Build the distributions and check them."""
    sdist, wheel = build(directory)
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    with tarfile.open(sdist) as archive:
        check_names(sdist, {name.partition("/")[2] for name in archive.getnames()}, IN_SDIST + tracked())
    with zipfile.ZipFile(wheel) as archive:
        check_names(wheel, set(archive.namelist()), IN_WHEEL)
        if [name for name in archive.namelist() if name.startswith(("tests/", "docs/"))]:
            raise SystemExit("the wheel holds more than the program")

    clean = directory / "clean"
    venv.create(clean, with_pip=True)
    run(clean / "bin" / "pip", "install", "--quiet", wheel)
    # Outside the source tree, whose twisted/plugins would be found in addition to the installed one.
    programs = run(clean / "bin" / "twistd", "--help", cwd=directory)
    for program, option in PROGRAMS.items():
        shown = [line for line in programs.splitlines() if line.split()[:1] == [program]]
        if len(shown) != 1:
            raise SystemExit(f"{programs}\ntwistd --help shows {program} {len(shown)} times")
        print(shown[0])
        if option not in run(clean / "bin" / "twistd", program, "--help-all", cwd=directory):
            raise SystemExit(f"twistd {program} --help-all does not show the options")
        # The command of the same name needs no twistd in the PATH.
        if program not in run(clean / "bin" / program, "-n", "--version", cwd=directory):
            raise SystemExit(f"{program} does not show its version")
    if "rotate" not in run(clean / "bin" / "egress", "ca", "--help", cwd=directory):
        raise SystemExit("egress ca --help does not show what can be done")
    run(
        clean / "bin" / "python",
        "-c",
        "from egress.policy.parse.load import load_starter; load_starter()",
        cwd=directory,
    )
    run(clean / "bin" / "egress", "policy", "new", "npm", "--output", "policy.toml", cwd=directory)
    run(clean / "bin" / "egress", "policy", "check", "policy.toml", cwd=directory)
    print("the wheel works in a clean environment")


if __name__ == "__main__":
    target = Path(sys.argv[1]) / "packaging"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    check(target)
