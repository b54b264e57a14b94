"""The names of the origins, and a mount namespace in which they mean this machine.

Every proxy resolves names by C{/etc/hosts} sooner or later, and only few can be given another file.  So the benchmark
runs itself once more, in a mount namespace of its own where another file lies over C{/etc/hosts}.  The machine keeps
its own, and nothing has to be undone.
"""

# ruff: noqa: S603, S607 -- programs of ours and of the system are started, some by their name

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DOMAIN = "bench.test"
COUNT = 400
HOSTS_FILE = Path("/etc/hosts")

# Set for the process inside, so that a namespace without effect is an error and not an endless loop.
_INSIDE = "EGRESSPROXY_BENCHMARKS_INSIDE"

# $0 is the file with the names, "$@" the command.
_SCRIPT = f'mount --bind "$0" {HOSTS_FILE} && exec "$@"'


class NamesError(Exception):
    """The origins' names cannot be made to mean this machine."""


def origin_names() -> list[str]:
    """Every name under which the origins are asked for."""
    return [*(f"h{number:03}.{DOMAIN}" for number in range(COUNT)), f"opaque.{DOMAIN}"]


def address_of(number: int) -> str:
    """What a name means: another address of this machine for each, so that an origin can tell who really asked it.

    The load generator reckons in the same way.
    """
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def hosts_text(present: str) -> str:
    """The file that lies over C{/etc/hosts}: the one that is there, and one line for each name.

    One line for all of them would be too long for readers with a small buffer, such as Squid's.
    """
    lines = present.splitlines()
    lines += [f"{address_of(number)} {name}" for number, name in enumerate(origin_names())]
    return "\n".join(lines) + "\n"


def are_known() -> bool:
    """Whether the first and the last name mean this machine, here and now."""
    names = origin_names()
    try:
        return all(socket.gethostbyname(names[at]) == address_of(at) for at in (0, len(names) - 1))
    except OSError:
        return False


def unshare_command(hosts: Path, command: Sequence[str], *, as_root: bool) -> list[str]:
    """The command line that runs another one with C{hosts} in the place of C{/etc/hosts}.

    @param as_root: whether we are root already.  If not, a user namespace makes us root of this one mount namespace.
    """
    mapping = [] if as_root else ["--map-root-user"]
    return ["unshare", "--mount", *mapping, "--", "/bin/sh", "-c", _SCRIPT, str(hosts), *command]


def enter(build: Path, command: Sequence[str]) -> None:
    """See to it that the names are known: return if they are, or else become C{command} where they are.

    @param build: the directory in which the file with the names is kept.
    @raise NamesError: when this system does not permit it.
    """
    if are_known():
        return
    if os.environ.get(_INSIDE):
        raise NamesError(f"{HOSTS_FILE} has the names now, and still they do not resolve: see hosts: in nsswitch.conf")
    if shutil.which("unshare") is None:
        raise NamesError("unshare is missing: apt-get install util-linux")
    as_root = os.geteuid() == 0
    probe = unshare_command(HOSTS_FILE, ["true"], as_root=as_root)
    tried = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode:
        raise NamesError(
            "this system does not permit a mount namespace"
            f" ({tried.stderr.strip() or f'status {tried.returncode}'}).\n"
            "Run the benchmark as root, permit user namespaces (sysctl kernel.unprivileged_userns_clone=1,"
            " kernel.apparmor_restrict_unprivileged_userns=0), or give a container --cap-add SYS_ADMIN.\n"
            f"Or put the names into {HOSTS_FILE} yourself; they are in {_write(build)}."
        )
    hosts = _write(build)
    sys.stdout.flush()
    os.execvpe(  # noqa: S606
        "unshare", unshare_command(hosts, command, as_root=as_root), {**os.environ, _INSIDE: "1"}
    )


def _write(build: Path) -> Path:
    path = build / "hosts"
    path.write_text(hosts_text(HOSTS_FILE.read_text(encoding="utf-8")), encoding="utf-8")
    path.chmod(0o644)
    return path
