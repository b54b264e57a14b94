"""The one rule for files that are created or changed: nobody else chooses which file that is.

Users who may write to a directory can put a symbolic link, a hard link or a FIFO where a file is expected.  A process
with more rights than they have, root above all, would then write to, or give away, a file of their choice.  So:

- A directory is opened once, and every name is looked up relative to that descriptor.
- A file is created with C{O_EXCL} and C{O_NOFOLLOW}.  Owner and mode are set on the descriptor (C{fchown(2)},
  C{fchmod(2)}), never by name, and only on files that this process has created.
- A file that takes the place of another is written under a name of its own, then renamed.
- A file that is opened to be changed in place is checked by its descriptor: what kind it is, whose, and with how
  many names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import BinaryIO, Final, NoReturn

# What the following of links ends at, as in Linux (path_resolution(7)) but lower.
_MAX_LINKS: Final = 8
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_PERMISSIONS: Final = 0o777
# Not to wait for the other end of a FIFO, nor to become the terminal's process.
_AT_ONCE: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class UnsafeFile(PermissionError):
    """A file or directory that somebody else could have put there."""


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise UnsafeFile(errno.EPERM, why, str(path))


def _is_ours(owner: int) -> bool:
    """Whether a file belongs to root or to the user of this process."""
    return owner in (0, os.geteuid())


class Folder:
    """An open directory, in which files are created, replaced and removed.

    It is a context manager: the descriptor is closed at the end.

    @param path: the directory.
    @ivar descriptor: its descriptor.
    @ivar state: what C{fstat(2)} says of it.
    @raise OSError: when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.state = os.fstat(self.descriptor)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def create(self, name: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> str:
        """Write a new file under a temporary name, safe on disk.

        @param name: the name that it gets later; the temporary one begins with it.
        @param mode: its permissions.
        @param owner: the user and the group to give it to.
        @return: the temporary name.
        @raise OSError: when it cannot be written; nothing is left then.
        """
        temporary = f"{name}.{token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=self.descriptor)
        try:
            with open(descriptor, "wb") as file:
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        except OSError:
            self.remove(temporary)
            raise
        return temporary

    def put(self, name: str, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Write a file, or replace it: a reader sees the old one or the new one, whole, even after a crash.

        @raise OSError: when it cannot be written.
        """
        temporary = self.create(name, content, mode, owner)
        try:
            self.rename(temporary, name)
        except OSError:
            with suppress(FileNotFoundError):
                self.remove(temporary)
            raise
        self.sync()

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, in place of a file that has it."""
        os.replace(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def link(self, name: str, new: str) -> None:
        """Give a file a second name.

        @raise FileExistsError: when there is one of that name.
        """
        os.link(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Have what was done to the directory outlast a crash."""
        os.fsync(self.descriptor)

    def open_lock(self, name: str, owner: tuple[int, int] | None = None) -> int:
        """Open a lock file, or create it.

        @param owner: the user and the group to give it to, if this call creates it.
        @return: its descriptor.
        @raise UnsafeFile: when it is not a file that this directory's owner, root or this process has made for it.
        @raise OSError: when it cannot be opened.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | _AT_ONCE
        try:
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.descriptor)
        except FileExistsError:
            descriptor = self._open_plain(name, flags)
        else:
            if owner is not None:
                os.fchown(descriptor, *owner)
        return descriptor

    def _open_plain(self, name: str, flags: int) -> int:
        path = self._path / name
        try:
            descriptor = os.open(name, flags, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                _refuse(path, "is a symbolic link; remove it")
            raise
        state = os.fstat(descriptor)
        why = None
        if not stat.S_ISREG(state.st_mode):
            why = "is not a regular file; remove it"
        elif state.st_nlink != 1:
            why = "has a second name (a hard link); remove it"
        elif not (_is_ours(state.st_uid) or state.st_uid == self.state.st_uid):
            why = "belongs to another user; remove it"
        if why is not None:
            os.close(descriptor)
            _refuse(path, why)
        return descriptor


def make_private(path: Path) -> None:
    """Create a directory for its owner alone, and those above it so that its owner alone can write to them.

    @raise OSError: when one cannot be created.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            # Whatever the mask of the process is.
            with suppress(FileExistsError):
                parent.mkdir(mode=0o755)
    path.mkdir(mode=0o700, exist_ok=True)


def check_private(path: Path) -> None:
    """Check that nobody but its owner and root can put files into a directory, or another directory in its place.

    For root a directory of any user will do: it works there for that user.

    @raise UnsafeFile: when somebody else can.
    @raise OSError: when there is no such directory.
    """
    state = path.stat()
    if state.st_mode & _OTHERS_WRITE:
        remedy = f"run chmod 700 {path}, or name a new directory in it"
        _refuse(path, f"others may write to it and put a CA of theirs in place; {remedy}")
    if os.geteuid() != 0 and not _is_ours(state.st_uid):
        _refuse(path, "belongs to another user; name a directory of your own")
    # As it is written, and with all links followed.
    for parent in dict.fromkeys([*path.absolute().parents, *path.resolve().parents]):
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            remedy = f"run chmod o-w {parent}"
            _refuse(path, f"everybody may rename what is in {parent} and put another directory in place; {remedy}")


def heir_of(directory: os.stat_result) -> tuple[int, int] | None:
    """To whom a new file in a directory is given: root works there for the directory's owner.

    @return: the user and the group; C{None} to keep it.
    """
    if os.geteuid() == 0 and directory.st_uid != 0:
        return directory.st_uid, directory.st_gid
    return None


def read_plain(path: Path, limit: int) -> bytes:
    """Read a regular file, never waiting for the writer of a FIFO.

    @param limit: how many bytes are read at most.
    @raise UnsafeFile: when it is something else.
    @raise OSError: when it cannot be read.
    """
    with open_plain(path) as file:
        return file.read(limit)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file to read it, never waiting for the writer of a FIFO.

    @raise UnsafeFile: when it is something else.
    @raise OSError: when it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        _refuse(path, "is not a regular file")
    return open(descriptor, "rb")


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write a file as a whole, in place of one that is there.  A device, FIFO or the like is written to instead.

    @param mode: its permissions; C{None}: those of the file that it replaces, if that is ours, otherwise 0644.
    @raise UnsafeFile: when it is a device or the like that somebody else could have put there.
    @raise OSError: when it cannot be written; the old file is unchanged then.
    """
    with Folder(path.parent) as folder:
        try:
            state = path.stat()
        except FileNotFoundError:
            state = None
        if state is not None and not stat.S_ISREG(state.st_mode):
            _write_through(path, folder, content)
            return
        if mode is None:
            kept = state is not None and _is_ours(state.st_uid)
            mode = state.st_mode & _PERMISSIONS if state is not None and kept else 0o644
        folder.put(path.name, content, mode)


def _write_through(path: Path, folder: Folder, content: bytes) -> None:
    # Without O_CREAT: what is there is opened, or nothing.  Waiting for the reader of a FIFO is meant.
    with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), "wb", buffering=0) as file:
        state = os.fstat(file.fileno())
        if stat.S_ISREG(state.st_mode):
            _refuse(path, "was replaced while it was opened; try again")
        _check_placed(path, folder.state, state)
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]


def open_log(path: Path) -> int:
    """Open a log to append to, or create it readable by its owner alone.

    A regular file, a FIFO and a device will do.  A symbolic link is followed only out of a directory to which nobody
    but its owner can write, and each step of it by the same rule: nothing is created where somebody else's link leads.

    @return: its descriptor.
    @raise UnsafeFile: when somebody else could have put it there.
    @raise OSError: when it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | _AT_ONCE
    for _ in range(_MAX_LINKS):
        with Folder(path.parent) as folder:
            try:
                descriptor = os.open(path.name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder.descriptor)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                if folder.state.st_mode & _OTHERS_WRITE:
                    _refuse(
                        path,
                        "is a symbolic link in a directory to which others can write; name the file that it leads to",
                    )
            else:
                _checked(path, folder.state, descriptor)
                return descriptor
        if path.parent.resolve().is_relative_to("/proc"):
            # C{/dev/stdout} leads here: to what is open already, whatever its name.
            return os.open(path, flags)
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _checked(path: Path, directory: os.stat_result, descriptor: int) -> None:
    try:
        _check_placed(path, directory, os.fstat(descriptor))
    except UnsafeFile:
        os.close(descriptor)
        raise


def _check_placed(path: Path, directory: os.stat_result, state: os.stat_result) -> None:
    """Check that what is open was not put there by another user, where everybody can put something."""
    if not directory.st_mode & stat.S_IWOTH:
        return
    if not _is_ours(state.st_uid):
        _refuse(path, "belongs to another user, in a directory to which everybody can write; name another file")
    if stat.S_ISREG(state.st_mode) and state.st_nlink != 1:
        _refuse(path, "has a second name (a hard link), in a directory to which everybody can write; name another file")


@contextmanager
def socket_mode(mode: int) -> Iterator[None]:
    """Have C{bind(2)} create UNIX sockets with exactly this mode, so that none is changed by name afterwards.

    Other threads must not create files meanwhile: the mask is that of the process.
    """
    old = os.umask(_PERMISSIONS & ~mode)
    try:
        yield
    finally:
        os.umask(old)


def check_socket_directory(path: str) -> None:
    """Check that a UNIX socket can be created where not everybody may replace it.

    Twisted sets the mode of a socket by name, after it was created.

    @raise UnsafeFile: when everybody may.
    @raise OSError: when there is no such directory.
    """
    if path.startswith("\0"):
        # In the abstract namespace of Linux.
        return
    directory = Path(path).absolute().parent
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _refuse(path, f"everybody may replace what is in {directory}; run chmod o-w {directory}")


def remove_socket(path: str) -> None:
    """Remove a UNIX socket, and nothing else that has its name."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
