"""The names of the origins, and a mount namespace in which they resolve to this machine.

Every proxy resolves names with C{/etc/hosts}, and only few accept another file.  The benchmark therefore runs itself
again in a mount namespace in which another file is mounted over C{/etc/hosts}.  The file of the machine does not
change, so there is no cleanup.
"""

# ruff: noqa: S603, S607 -- it starts programs of the benchmark and of the system, some by name

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

# Set for the inner process, so that a namespace without effect is an error and not an endless loop.
_INSIDE = "EGRESSPROXY_BENCHMARKS_INSIDE"

# $0 is the file with the names, "$@" the command.
_SCRIPT = f'mount --bind "$0" {HOSTS_FILE} && exec "$@"'


class NamesError(Exception):
    """The names of the origins cannot resolve to this machine."""


def origin_names() -> list[str]:
    """Return all names of the origins."""
    return [*(f"h{number:03}.{DOMAIN}" for number in range(COUNT)), f"opaque.{DOMAIN}"]


def address_of(number: int) -> str:
    """Return the address of a name.

    Each name has its own address, so that an origin can identify the name of a request.
    The load generator uses the same function.
    """
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def hosts_text(present: str) -> str:
    """Return the file to mount over C{/etc/hosts}: the existing lines, and one line for each name.

    A single line would be too long for parsers with a small buffer, such as that of Squid.
    """
    lines = present.splitlines()
    lines += [f"{address_of(number)} {name}" for number, name in enumerate(origin_names())]
    return "\n".join(lines) + "\n"


def are_known() -> bool:
    """Whether the first and the last name resolve to this machine."""
    names = origin_names()
    try:
        return all(socket.gethostbyname(names[at]) == address_of(at) for at in (0, len(names) - 1))
    except OSError:
        return False


def unshare_command(hosts: Path, command: Sequence[str], *, as_root: bool) -> list[str]:
    """Return the command line that runs another command with C{hosts} mounted over C{/etc/hosts}.

    @param as_root: whether this process is root.  If not, a user namespace makes it root of the mount namespace.
    """
    mapping = [] if as_root else ["--map-root-user"]
    return ["unshare", "--mount", *mapping, "--", "/bin/sh", "-c", _SCRIPT, str(hosts), *command]


def enter(build: Path, command: Sequence[str]) -> None:
    """Ensure that the names resolve: return if they do; otherwise, execute C{command} in a namespace where they do.

    @param build: the directory of the file with the names.
    @raise NamesError: if this system does not permit it.
    """
    if are_known():
        return
    if os.environ.get(_INSIDE):
        raise NamesError(f"{HOSTS_FILE} contains the names, but they do not resolve: check hosts: in nsswitch.conf")
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
