"""The file system of the sandbox: it has no sockets of programs outside, and can be read-only."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from egress.launch.isolate.hiding import bound_paths, hidden_directories, is_service, named_paths
from egress.launch.isolate.messages import View
from egress.launch.isolate.mount_table import is_below, mount_flags, mount_points
from egress.launch.isolate.syscalls import (
    BIND,
    NO_DEVICES,
    NO_EXECUTABLES,
    NO_SETUID,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    mount,
)

_RESOLV_CONF: Final = "/etc/resolv.conf"
_NAME_SERVER: Final = "# The name server of egress run --isolate.\nnameserver 127.0.0.1\n"

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - it is the path of the C library
# The files that replace others are in this directory, which is read-only in the end.
_STAGE: Final = "/dev/.egress"

_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - they are searched, and replaced with private ones

# The search for sockets in a directory ends here; a directory with more entries counts as one with a socket.
_MAX_ENTRIES: Final = 20_000
_TEMPORARY_DEPTH: Final = 2

_UNTRUSTED: Final = NO_SETUID | NO_DEVICES

# Files of the kernel that root can use for programs outside, and the directories of such files.
_KERNEL_CONTROLS: Final = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi")


def build(view: View, environ: Mapping[str, str]) -> None:
    """Build the file system in the mount namespace of this process.

    @param environ: its variables name sockets.
    """
    mount(None, "/", None, RECURSIVE | PRIVATE)
    directory = _working_directory()
    # A missing file means the name server of this machine, the same one.
    resolv_conf = os.path.realpath(_RESOLV_CONF)
    has_resolv_conf = os.path.exists(resolv_conf)
    sockets = _sockets(environ)
    writable = None if view.writable is None else [os.path.realpath(path) for path in view.writable]
    opened = _opened((*(writable or ()), *map(os.path.realpath, view.visible), directory))
    _replace_devices()
    _write(f"{_STAGE}/resolv.conf", _NAME_SERVER)
    _write(f"{_STAGE}/empty", "")
    runs = [path for path in ("/run", "/var/run") if os.path.isdir(path) and not os.path.islink(path)]
    for path in runs:
        _replace_run(path)
    private = [*runs, _SHARED_MEMORY]
    if writable is not None:
        private += _replace_temporary(writable)
    _show(opened, private, writable or ())
    if writable is not None:
        _restrict(private, writable)
    for path in hidden_directories(_home(environ)):
        _hide_directory(path)
    for path in sockets:
        _hide_socket(path)
    if has_resolv_conf:
        if any(is_below(resolv_conf, path) for path in runs):
            os.makedirs(os.path.dirname(resolv_conf), exist_ok=True)
            _write(resolv_conf, "")
        mount(f"{_STAGE}/resolv.conf", resolv_conf, None, BIND)
    mount(None, "/dev", None, REMOUNT | BIND | READ_ONLY | NO_SETUID | NO_EXECUTABLES)
    # The directory that this process is in can be below a mount that was replaced.
    try:
        os.chdir(directory)
    except PermissionError:
        pass  # neither absolute nor relative paths can use it
    except FileNotFoundError:
        raise FileNotFoundError(
            errno.ENOENT, "the sandbox hides the working directory: use another one", directory
        ) from None


def mount_processes(*, complete: bool) -> None:
    """Mount the processes of the PID namespace of this process.

    @param complete: whether root exists in the sandbox.  It is root of the machine for files of the kernel that only
        their owner protects.
    """
    mount("proc", "/proc", "proc", _UNTRUSTED | NO_EXECUTABLES)
    if complete:
        for path in _KERNEL_CONTROLS:
            with suppress(FileNotFoundError):
                mount(path, path, None, BIND | RECURSIVE)
        controls = (*_KERNEL_CONTROLS, "/sys")
        make_read_only(path for path in _mount_points() if any(is_below(path, control) for control in controls))


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _home(environ: Mapping[str, str]) -> str:
    with suppress(KeyError):
        return environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)


def _replace_devices() -> None:
    """Replace C{/dev} with one that has only the devices that all programs may use."""
    terminal = _terminal()
    before = os.open("/dev", os.O_PATH)
    mount("tmpfs", "/dev", "tmpfs", NO_SETUID | NO_EXECUTABLES, "mode=755,size=1m")
    os.mkdir(_STAGE)
    for name in _DEVICES:
        source = f"/proc/self/fd/{before}/{name}"
        if os.path.exists(source):
            _write(f"/dev/{name}", "")
            mount(source, f"/dev/{name}", None, BIND)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")
    # Other terminals of the same user are not in it.
    os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", "devpts", NO_SETUID | NO_EXECUTABLES, "newinstance,ptmxmode=0666,mode=0620")
    if terminal.startswith("/dev/"):
        # ttyname(3) finds it there.
        _write("/dev/console", "")
        mount(f"/proc/self/fd/{before}/{terminal.removeprefix('/dev/')}", "/dev/console", None, BIND)
    os.mkdir(_SHARED_MEMORY)
    mount("tmpfs", _SHARED_MEMORY, "tmpfs", _UNTRUSTED, "mode=1777")
    os.mkdir("/dev/mqueue")
    with suppress(OSError):  # the kernel can be without
        mount("mqueue", "/dev/mqueue", "mqueue", _UNTRUSTED | NO_EXECUTABLES)
    os.close(before)


def _terminal() -> str:
    """Return the path of the terminal among the standard streams; empty if there is none."""
    for descriptor in range(3):
        with suppress(OSError):
            return os.ttyname(descriptor)
    return ""


def _replace_run(path: str) -> None:
    """Replace C{/run} with one that has only files, and directories without sockets."""
    before = os.open(path, os.O_PATH)
    origin = f"/proc/self/fd/{before}"
    with os.scandir(origin) as entries:
        found = [(entry.name, entry.is_symlink(), _kind(entry)) for entry in entries]
    mount("tmpfs", path, "tmpfs", _UNTRUSTED, "mode=755")
    for name, is_link, kind in found:
        source, target = f"{origin}/{name}", f"{path}/{name}"
        if is_link:
            os.symlink(os.readlink(source), target)
        elif kind == stat.S_IFREG:
            _write(target, "")
            mount(source, target, None, BIND)
        elif kind == stat.S_IFDIR and not is_service(name) and not _has_sockets(source):
            os.mkdir(target)
            mount(source, target, None, BIND | RECURSIVE)
    os.close(before)
    private = f"{path}/user/{os.getuid()}"
    os.makedirs(private)
    os.chmod(private, 0o700)


def _kind(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    return 0


def _has_sockets(directory: str) -> bool:
    found = special_files(directory, depth=None)
    return next(found, None) is not None


def special_files(directory: str, depth: int | None, left: list[int] | None = None) -> Iterator[str]:
    """Yield the sockets and named pipes in a directory; the directory itself if it has too many entries.

    A directory that this user cannot read has none for the command.

    @param depth: how deep to look; C{None} is everywhere.
    """
    left = [_MAX_ENTRIES] if left is None else left
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    left[0] -= len(entries)
    if left[0] < 0:
        yield directory
        return
    for entry in entries:
        if entry.is_symlink() or entry.is_file(follow_symlinks=False):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth is None or depth > 1:
                yield from special_files(entry.path, None if depth is None else depth - 1, left)
        elif _kind(entry) in (stat.S_IFSOCK, stat.S_IFIFO):
            yield entry.path


def _sockets(environ: Mapping[str, str]) -> list[str]:
    """Return the sockets outside of C{/run}."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        paths = {*bound_paths(file.read()), *named_paths(environ)}
    for directory in _TEMPORARY:
        paths.update(special_files(directory, _TEMPORARY_DEPTH))
    return sorted(path for path in paths if _is_socket(path))


def _is_socket(path: str) -> bool:
    # A name with a zero, for example, raises ValueError.
    with suppress(OSError, ValueError):
        return stat.S_ISSOCK(os.stat(path).st_mode)
    return False


def _hide_socket(path: str) -> None:
    """Cover a socket with a file, to which no program can connect."""
    if _is_socket(path):
        mount(f"{_STAGE}/empty", path, None, BIND)


def hide(path: str) -> None:
    """Let a file or a directory, if it exists, be empty for the command."""
    if os.path.isfile(path):
        mount(f"{_STAGE}/empty", path, None, BIND)
    else:
        _hide_directory(path)


def _hide_directory(path: str) -> None:
    if os.path.isdir(path):
        mode = stat.S_IMODE(os.stat(path).st_mode)
        mount("tmpfs", path, "tmpfs", _UNTRUSTED, f"mode={mode:o}")


def _opened(paths: Iterable[str]) -> dict[str, int]:
    """Open paths, to mount them after other mounts have covered them."""
    opened = {}
    for path in dict.fromkeys(paths):
        with suppress(PermissionError):
            opened[path] = os.open(path, os.O_PATH)
    return opened


def _replace_temporary(writable: Sequence[str]) -> list[str]:
    """Replace the temporary directories, except those in a list, with private ones.

    @return: their paths.
    """
    replaced = []
    for path in _TEMPORARY:
        if os.path.isdir(path) and not os.path.islink(path) and path not in writable:
            mount("tmpfs", path, "tmpfs", _UNTRUSTED, "mode=1777")
            replaced.append(path)
    return replaced


def _show(opened: Mapping[str, int], private: Sequence[str], writable: Sequence[str]) -> None:
    """Show paths again that private directories cover, and make a mount of each writable directory."""
    for path, descriptor in sorted(opened.items()):
        source = f"/proc/self/fd/{descriptor}"
        is_covered = any(is_below(path, each) and path != each for each in private) and not _is_same(path, descriptor)
        if path in writable or (is_covered and not _has_sockets(source)):
            if is_covered:
                _make_place(path, descriptor)
            mount(source, path, None, BIND | RECURSIVE)
        os.close(descriptor)


def _is_same(path: str, descriptor: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _restrict(private: Sequence[str], writable: Sequence[str]) -> None:
    """Let only some directories, and private ones, be writable."""
    kept = (*writable, "/proc")
    shared = f"{_SHARED_MEMORY}/"
    make_read_only(
        path
        for path in _mount_points()
        if path not in private
        and not any(is_below(path, each) for each in kept)
        and (path.startswith(shared) or not is_below(path, "/dev"))
    )


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return mount_points(file.read())


def make_read_only(paths: Iterable[str]) -> None:
    """Make mounts read-only, parents first.

    @raise OSError: if one of them remains writable.
    """
    for path in paths:
        # The command cannot see it either, or another mount covers it.
        with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            flags = mount_flags(os.statvfs(path).f_flag)
            try:
                mount(None, path, None, REMOUNT | BIND | flags | READ_ONLY)
            except OSError:
                if not os.statvfs(path).f_flag & READ_ONLY:
                    raise OSError(errno.EROFS, "cannot be made read-only", path) from None


def _make_place(path: str, descriptor: int) -> None:
    """Make a file or a directory to mount on."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _write(path, "")
