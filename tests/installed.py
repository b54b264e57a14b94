"""Build the distributions, install the wheel into a clean environment, and check the result.

C{python tests/installed.py DIRECTORY}, where C{build}, C{pipx}, C{twine} and C{uv} are installed; the directory is
emptied first.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
__version__ = re.search(r'__version__ = "(.+?)"', (ROOT / "egress" / "__init__.py").read_text("utf-8"))[1]  # type: ignore[index]

# Files that an sdist needs so that others can build, test and document from it.
IN_SDIST = (
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "setup.py",
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
# The options that install twistd, too: see docs/how-to/deploy.md.
UV_TWISTD = ("--with-executables-from", "twisted")
PIPX_TWISTD = ("--include-deps",)
# Most modules of the dependencies are never imported.
PIPX_QUICK = ("--pip-args=--no-compile",)
NO_HOP = ("dropin.cache", "__pycache__", "node_modules", "_trial_temp", ".pyc")


def run(*command: str | Path, cwd: Path = ROOT, variables: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed, and return its output."""
    print("+", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment.update(variables or {})
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
    run(clean / "bin" / "pip", "install", "--quiet", "--no-compile", wheel)
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
    check_tools(directory, wheel, clean / "bin" / "pip")


def check_tool(directory: Path, programs: Path, policy: Path, url: str) -> None:
    """Run the commands that an installer of applications has installed."""
    found = {path.name for path in programs.iterdir()}
    if found != {"egress", *PROGRAMS}:
        raise SystemExit(f"{programs} has the commands {sorted(found)}")
    for program in sorted(found):
        if __version__ not in run(programs / program, "--version", cwd=directory):
            raise SystemExit(f"{program} --version does not show the version")
    options = ("--policy", policy, "--allow-address", "127.0.0.0/8", "--ca-dir", directory / "ca")
    # The origin may have just started.
    fetch = ("curl", "--silent", "--show-error", "--fail", "--retry", "5", "--retry-all-errors", url)
    fetched = run(programs / "egress", "run", *options, "--", *fetch, cwd=directory)
    if "MIT License" not in fetched or "allowed" not in fetched:
        raise SystemExit(f"egress run does not work: {fetched}")


def check_tools(directory: Path, wheel: Path, pip: Path) -> None:
    """Install the wheel by the installers of applications, and run its commands.

    @param pip: downloads the wheels of the dependencies; the installers need no network then.
    """
    wheels = directory / "wheels"
    run(pip, "download", "--quiet", "--dest", wheels, wheel)
    policy = directory / "tools.toml"
    policy.write_text('version = 1\n[[rules]]\naction = "allow"\nhosts = ["127.0.0.1"]\n', "utf-8")
    bins = {name: directory / name / "bin" for name in ("uv", "pipx")}
    where = {
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIPX_BIN_DIR": str(bins["pipx"]),
        "PIPX_HOME": str(directory / "pipx"),
        "UV_CACHE_DIR": str(directory / "uv" / "cache"),
        "UV_FIND_LINKS": str(wheels),
        "UV_NO_INDEX": "1",
        "UV_TOOL_BIN_DIR": str(bins["uv"]),
        "UV_TOOL_DIR": str(directory / "uv" / "tools"),
    }
    tools = Path(sys.executable).parent
    run(tools / "uv", "tool", "install", "--python", sys.executable, "egressproxy", variables=where)
    run(tools / "pipx", "install", *PIPX_QUICK, "--python", sys.executable, "egressproxy", variables=where)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    origin = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port], cwd=ROOT)
    try:
        for name, programs in bins.items():
            check_tool(directory / name, programs, policy, f"http://127.0.0.1:{port}/LICENSE")
    finally:
        origin.kill()
    # The documented way to have twistd as well.
    run(
        tools / "uv",
        "tool",
        "install",
        "--reinstall",
        "--python",
        sys.executable,
        *UV_TWISTD,
        "egressproxy",
        variables=where,
    )
    again = ("install", "--force", *PIPX_QUICK, *PIPX_TWISTD)
    run(tools / "pipx", *again, "--python", sys.executable, "egressproxy", variables=where)
    for programs in bins.values():
        run(programs / "twistd", "egressproxy", "--version", cwd=directory)
    print("uv and pipx install the commands")


if __name__ == "__main__":
    target = Path(sys.argv[1]) / "packaging"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    check(target)
