"""The rule for files that the proxy creates or changes: no other user can redirect a write to another file.

Users who may write to a directory can create a symbolic link, a hard link or a FIFO under an expected name.  A process
with more rights than they have, above all root, would then write to a file of their choice, or change the owner of such
a file. Therefore:

  - A directory is opened once, and every name is looked up relative to its descriptor.
  - A file is created with C{O_EXCL} and C{O_NOFOLLOW}.  Owner and mode are set on the descriptor (C{fchown(2)},
    C{fchmod(2)}), never by name, and only on files that this process has created.
  - A file that replaces another one is written under a unique name, then renamed.
  - A file that is opened to be changed in place is checked by its descriptor: its kind, its owner and its number of
    names.
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

from egress.model.file_access import PRIVATE, FileAccess

# The maximum number of links to follow, as in Linux (path_resolution(7)) but lower.
_MAX_LINKS: Final = 8
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_PERMISSIONS: Final = 0o777
# Do not wait for the other end of a FIFO, and do not acquire a controlling terminal.
_NO_WAIT: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class UnsafeFile(PermissionError):
    """A file or directory that another user could have created."""


def _refuse(path: str | Path, why: str) -> NoReturn:
    raise UnsafeFile(errno.EPERM, why, str(path))


def _is_ours(owner: int) -> bool:
    """Tell whether a file belongs to root or to the user of this process."""
    return owner in (0, os.geteuid())


class Folder:
    """An open directory, in which files are created, replaced and removed.

    It is a context manager, which closes the descriptor.

    @param path: the directory.
    @ivar descriptor: its descriptor.
    @ivar state: the result of C{fstat(2)}.
    @raise OSError: if it cannot be opened.
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
        """Write a new file under a temporary name, and flush it to the disk.

        @param name: the later name of the file; the temporary name begins with it.
        @param content: the whole content.
        @param mode: the permissions of the file.
        @param owner: the user and the group that get the file.
        @return: the temporary name.
        @raise OSError: if the file cannot be written; no file remains.
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
        """Write or replace a file atomically: a reader sees the complete old or new content, even after a crash.

        @raise OSError: if it cannot be written.
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
        """Rename a file; an existing file with the new name is replaced."""
        os.replace(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def link(self, name: str, new: str) -> None:
        """Create a second name for a file.

        @raise FileExistsError: if the name exists.
        """
        os.link(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Flush changes of the directory to the disk, so that they survive a crash."""
        os.fsync(self.descriptor)

    def open_lock(self, name: str, owner: tuple[int, int] | None = None) -> int:
        """Open a lock file, or create it.

        @param name: the name of the file.
        @param owner: the user and the group that get the file, if this call creates it.
        @return: the descriptor.
        @raise UnsafeFile: if the directory's owner, root or this process did not create the file as a lock file.
        @raise OSError: if it cannot be opened.
        """
        flags = os.O_RDWR | os.O_NOFOLLOW | _NO_WAIT
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
    """Create a directory for only its owner, and its missing parents so that only their owner can write to them.

    @raise OSError: if one of them cannot be created.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            # This does not depend on the umask of the process.
            with suppress(FileExistsError):
                parent.mkdir(mode=0o755)
    path.mkdir(mode=0o700, exist_ok=True)


def check_private(path: Path, what: str = "the CA") -> None:
    """Check that only a directory's owner and root can add files to it or replace it.

    For root, a directory of any user is acceptable: root works there for that user.

    @param path: the directory.
    @param what: what it contains, for the message.
    @raise UnsafeFile: if another user can.
    @raise OSError: if there is no such directory.
    """
    state = path.stat()
    if state.st_mode & _OTHERS_WRITE:
        remedy = f"run chmod 700 {path}, or use a new directory in it"
        _refuse(path, f"other users can write to it and replace {what}; {remedy}")
    if os.geteuid() != 0 and not _is_ours(state.st_uid):
        _refuse(path, "belongs to another user; use a directory of your own")
    # Both the path as given and the path with all links resolved.
    for parent in dict.fromkeys([*path.absolute().parents, *path.resolve().parents]):
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            remedy = f"run chmod o-w {parent}"
            _refuse(path, f"every user can rename entries of {parent} and replace the directory; {remedy}")


def heir_of(directory: os.stat_result) -> tuple[int, int] | None:
    """Return the owner of a new file in a directory: root works there for the directory's owner.

    @return: the user and the group; C{None} to leave the owner unchanged.
    """
    if os.geteuid() == 0 and directory.st_uid != 0:
        return directory.st_uid, directory.st_gid
    return None


def read_plain(path: Path, limit: int) -> bytes:
    """Read a regular file, without waiting for the writer of a FIFO.

    @param path: the file.
    @param limit: the maximum number of bytes to read.
    @raise UnsafeFile: if it is not a regular file.
    @raise OSError: if it cannot be read.
    """
    with open_plain(path) as file:
        return file.read(limit)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading, without waiting for the writer of a FIFO.

    @raise UnsafeFile: if it is not a regular file.
    @raise OSError: if it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        _refuse(path, "is not a regular file")
    return open(descriptor, "rb")


def replace_file(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write a file completely, and replace an existing one.  An existing device, FIFO or similar is written to instead.

    @param path: the file.
    @param content: the whole content.
    @param mode: the permissions; C{None}: the permissions of the replaced file, if it belongs to this user, otherwise
        0644.
    @raise UnsafeFile: if it is a device or similar that another user could have created.
    @raise OSError: if it cannot be written; the old file is unchanged.
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
            own = state is not None and _is_ours(state.st_uid)
            mode = state.st_mode & _PERMISSIONS if state is not None and own else 0o644
        folder.put(path.name, content, mode)


def _write_through(path: Path, folder: Folder, content: bytes) -> None:
    # Without O_CREAT, only an existing file is opened.  Waiting for the reader of a FIFO is intended.
    with open(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY), "wb", buffering=0) as file:
        state = os.fstat(file.fileno())
        if stat.S_ISREG(state.st_mode):
            _refuse(path, "was replaced while it was opened; try again")
        _check_placed(path, folder.state, state)
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]


def open_log(path: Path, access: FileAccess = PRIVATE) -> int:
    """Open a log for appending, or create it.

    A regular file, a FIFO and a device are accepted.  A symbolic link is followed only if only its directory's owner
    can write to that directory.  The same rule applies to each link it points to.  Thus no file is created at a
    location that another user's link selects.

    @param access: the permissions of a file that is created; an existing file keeps its permissions.
    @return: the descriptor.
    @raise UnsafeFile: if another user could have created the file.
    @raise OSError: if it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_APPEND | _NO_WAIT
    for _ in range(_MAX_LINKS):
        with Folder(path.parent) as folder:
            try:
                descriptor = _open_or_create(folder.descriptor, path.name, flags | os.O_NOFOLLOW, access)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                if folder.state.st_mode & _OTHERS_WRITE:
                    _refuse(
                        path,
                        "is a symbolic link in a directory to which other users can write; specify its target",
                    )
            else:
                _checked(path, folder.state, descriptor)
                return descriptor
        if path.parent.resolve().is_relative_to("/proc"):
            # C{/dev/stdout} resolves to this path: it is an open file, regardless of its name.
            return os.open(path, flags)
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _open_or_create(folder: int, name: str, flags: int, access: FileAccess) -> int:
    """Open a file, or create it with its permissions."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(name, flags, dir_fd=folder)
        # Another process can create or remove the file between these two calls.
        with suppress(FileExistsError):
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
            break
    try:
        if access.group is not None:
            os.fchown(descriptor, -1, access.group)
        os.fchmod(descriptor, access.bits)
    except OSError:
        os.close(descriptor)
        os.unlink(name, dir_fd=folder)
        raise
    return descriptor


def _checked(path: Path, directory: os.stat_result, descriptor: int) -> None:
    try:
        _check_placed(path, directory, os.fstat(descriptor))
    except UnsafeFile:
        os.close(descriptor)
        raise


def _check_placed(path: Path, directory: os.stat_result, state: os.stat_result) -> None:
    """Check that another user did not create an open file in a directory to which every user can write."""
    if not directory.st_mode & stat.S_IWOTH:
        return
    if not _is_ours(state.st_uid):
        _refuse(path, "belongs to another user, in a directory to which every user can write; use another file")
    if stat.S_ISREG(state.st_mode) and state.st_nlink != 1:
        _refuse(path, "has a second name (a hard link), in a directory to which every user can write; use another file")


@contextmanager
def socket_mode(mode: int) -> Iterator[None]:
    """Make C{bind(2)} create UNIX sockets with exactly this mode, so that no mode is changed by name afterwards.

    Other threads must not create files meanwhile: the umask applies to the process.
    """
    old = os.umask(_PERMISSIONS & ~mode)
    try:
        yield
    finally:
        os.umask(old)


def check_socket_directory(path: str) -> None:
    """Check that a UNIX socket is created in a directory in which not every user can replace it.

    Twisted sets the mode of a socket by name, after the socket is created.

    @raise UnsafeFile: if every user can replace it.
    @raise OSError: if there is no such directory.
    """
    if path.startswith("\0"):
        # A socket in the abstract namespace of Linux.
        return
    directory = Path(path).absolute().parent
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _refuse(path, f"every user can replace entries of {directory}; run chmod o-w {directory}")


def remove_socket(path: str) -> None:
    """Remove a UNIX socket, but no other kind of file with its name."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
