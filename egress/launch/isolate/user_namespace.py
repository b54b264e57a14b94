"""Entering a user namespace, with ids that a process outside writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from egress.launch.isolate.id_maps import IdMaps, id_maps
from egress.launch.isolate.syscalls import NEW_USER, unshare


def own_id_maps(root: Path = Path("/proc/self")) -> IdMaps:
    """Return the ids for a user namespace of this process."""
    texts = ((root / name).read_text(encoding="ascii") for name in ("status", "uid_map", "gid_map"))
    return id_maps(os.getuid(), os.getgid(), *texts)


def write_id_maps(maps: IdMaps, process: int | str, root: Path = Path("/proc")) -> None:
    """Write the ids of a process that has entered a user namespace.

    @param process: its number, or C{self}.
    """
    directory = root / str(process)
    if not maps.complete:
        (directory / "setgroups").write_text("deny", encoding="ascii")
    # One write(2) each; the kernel rejects a second one.
    (directory / "uid_map").write_text(maps.users, encoding="ascii")
    (directory / "gid_map").write_text(maps.groups, encoding="ascii")


def enter_user_namespace(maps: IdMaps) -> None:
    """Let this process enter a user namespace, in which it has all capabilities.

    Only a process outside may write more ids than the process's own.  It is a child of this process.
    """
    if not maps.complete:
        unshare(NEW_USER)
        write_id_maps(maps, "self")
        return
    entered_read, entered_write = os.pipe()
    process = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(entered_write)
        _in_child(lambda: _write_when_entered(maps, process, entered_read))
    os.close(entered_read)
    try:
        unshare(NEW_USER)
        # A child that has ended reports its error below.
        with suppress(BrokenPipeError):
            os.write(entered_write, b"1")
    finally:
        os.close(entered_write)
        _check_child(child, f"/proc/{process}/uid_map")


def check_nesting() -> None:
    """Check that a child of this process can enter another user namespace.

    @raise OSError: if it cannot.
    """
    child = os.fork()
    if child == 0:
        _in_child(lambda: unshare(NEW_USER))
    _check_child(child, "user namespace in a user namespace")


def _check_child(child: int, name: str) -> None:
    """Wait for the end of a child, and raise its error."""
    _, status = os.waitpid(child, 0)
    number = abs(os.waitstatus_to_exitcode(status))
    if number != 0:
        raise OSError(number, os.strerror(number), name)


def _write_when_entered(maps: IdMaps, process: int, entered: int) -> None:
    if os.read(entered, 1):
        write_id_maps(maps, process)


def _in_child(run: Callable[[], None]) -> None:
    """Run a function, and end this process with the C{errno}."""
    number = 1
    try:
        run()
        number = 0
    except OSError as error:
        number = error.errno or 1
    finally:
        os._exit(number)
