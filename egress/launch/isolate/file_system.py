"""The file system of the sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from egress.launch.isolate.syscalls import (
    BIND,
    NO_DEVICES,
    NO_EXECUTABLES,
    NO_SETUID,
    PRIVATE,
    RECURSIVE,
    mount,
    unmount,
)

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_NAME_SERVER: Final = "# The name server of egress run --isolate.\nnameserver 127.0.0.1\noptions edns0\n"

# A directory of every Linux system, over which files are made that then replace others.
_STAGE: Final = Path("/proc")


def replace_files() -> None:
    """Replace the files by which programs find name servers."""
    mount(None, "/", None, RECURSIVE | PRIVATE)
    # A missing file means the name server of this machine, the same one.
    target = os.path.realpath(_RESOLV_CONF)
    if not os.path.exists(target):
        return
    mount("tmpfs", str(_STAGE), "tmpfs", NO_SETUID | NO_DEVICES | NO_EXECUTABLES, "mode=755,size=64k")
    source = _STAGE / _RESOLV_CONF.name
    source.write_text(_NAME_SERVER, encoding="ascii")
    source.chmod(0o644)
    mount(str(source), target, None, BIND)
    unmount(str(_STAGE))


def mount_processes() -> None:
    """Mount the processes of the PID namespace of this process."""
    mount("proc", "/proc", "proc", NO_SETUID | NO_DEVICES | NO_EXECUTABLES)
