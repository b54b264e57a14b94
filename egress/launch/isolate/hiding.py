"""The paths of the file system that programs outside of the sandbox listen on, and that are therefore hidden."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

# A directory of /run is also hidden if it contains a socket.  These can have one later.
_SERVICES: Final = frozenset(
    {
        *(
            "avahi-daemon",
            "buildkit",
            "containerd",
            "crio",
            "cups",
            "dbus",
            "docker",
            "incus",
            "libvirt",
            "lxd",
            "nscd",
        ),
        *("pcscd", "podman", "screen", "snapd", "sshd", "systemd", "tmux", "udev", "user", "uuidd"),
    }
)

# Sockets of these programs are in the home directory.
_IN_HOME: Final = (
    *(".colima", ".docker/desktop", ".docker/run", ".lima", ".local/share/containers/podman/machine"),
    *(".orbstack/run", ".rd"),
)

_ELSEWHERE: Final = (
    *("/tmp/.ICE-unix", "/tmp/.X11-unix", "/tmp/.font-unix", "/var/lib/incus", "/var/lib/lxd"),  # noqa: S108
    *("/var/snap/lxd/common/lxd", "/var/spool/at", "/var/spool/cron"),
)

_SEPARATORS: Final = re.compile(r"[,;:=\s]")


def is_service(name: str) -> bool:
    """Return whether a directory of C{/run} is hidden even if it is empty."""
    return name in _SERVICES


def hidden_directories(home: str) -> Iterator[str]:
    """Yield the directories that are replaced with empty ones, whether or not they exist.

    @param home: the home directory of the user; empty if there is none.
    """
    yield from _ELSEWHERE
    if home.startswith("/"):
        yield from (f"{home.rstrip('/')}/{name}" for name in _IN_HOME)


def bound_paths(table: str) -> frozenset[str]:
    """Return the paths of all sockets in the network namespace, listening or not.

    @param table: the content of C{/proc/net/unix}.
    """
    # Num RefCount Protocol Flags Type St Inode Path
    rows = (line.split(None, 7) for line in table.splitlines()[1:])
    # A name that begins with @ is not in the file system, and exists only in its network namespace.
    return frozenset(row[7] for row in rows if len(row) == 8 and row[7].startswith("/"))


def named_paths(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the paths that variables name, such as C{SSH_AUTH_SOCK} and C{DBUS_SESSION_BUS_ADDRESS}."""
    words = (word for value in environ.values() for word in _SEPARATORS.split(value))
    # unix:///run/docker.sock
    return frozenset(f"/{word.lstrip('/')}" for word in words if word.startswith("/"))
