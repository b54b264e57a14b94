"""Tests for L{egress.runtime.safe_files}."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.model.file_access import FileAccess, FileMode
from egress.runtime import safe_files
from egress.runtime.safe_files import (
    Folder,
    UnsafeFile,
    check_private,
    check_socket_directory,
    heir_of,
    make_private,
    open_log,
    open_plain,
    read_plain,
    remove_socket,
    replace_file,
    socket_mode,
)

OTHER = 12345


class FilesTestCase(SynchronousTestCase):
    """Creates a private directory, a directory that every user can write to, and the file of a victim."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.private = self.root / "private"
        self.private.mkdir(parents=True)
        self.private.chmod(0o700)
        self.shared = self.root / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o1777)
        self.victim = self.root / "victim"
        self.victim.write_text("precious")
        self.victim.chmod(0o640)

    def tearDown(self) -> None:
        """Verify that the victim's file is unchanged."""
        state = self.victim.stat()
        self.assertEqual((self.victim.read_text(), state.st_mode & 0o7777), ("precious", 0o640))
        self.assertEqual((state.st_uid, state.st_gid), self.before)

    def run(self, result: Any = None) -> Any:
        self.before = (os.geteuid(), os.getegid())
        return super().run(result)

    def of_others(self) -> None:
        """Make this process appear as another user, so that existing files belong to somebody else.

        All users trust root's files, so root gives them away first.
        """
        if os.getuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, OTHER, OTHER, follow_symlinks=False)
            self.before = (OTHER, OTHER)
        self.patch(os, "geteuid", lambda: OTHER + 1)

    def refused(self, call: Callable[[], object], *words: str) -> None:
        error = self.assertRaises(UnsafeFile, call)
        for word in words:
            self.assertIn(word, error.strerror)
        self.assertTrue(error.filename)


class LockTests(FilesTestCase):
    """A lock file in a directory."""

    def lock(self, owner: tuple[int, int] | None = None) -> os.stat_result:
        with Folder(self.private) as folder:
            descriptor = folder.open_lock("ca.lock", owner)
            try:
                return os.fstat(descriptor)
            finally:
                os.close(descriptor)

    def test_create(self) -> None:
        made = self.lock()
        self.assertEqual((made.st_mode & 0o777, made.st_uid), (0o600, os.geteuid()))
        self.assertEqual(self.lock().st_ino, made.st_ino)

    def test_owner_of_a_new_file(self) -> None:
        """Root gives a created file to the owner of the directory, but never an existing file."""
        given: list[tuple[int, int]] = []
        self.patch(os, "fchown", lambda _, owner, group: given.append((owner, group)))
        self.lock((OTHER, OTHER))
        self.assertEqual(given, [(OTHER, OTHER)])
        self.lock((OTHER, OTHER))
        self.assertEqual(given, [(OTHER, OTHER)])

    def test_symbolic_link(self) -> None:
        for target in (self.victim, self.root / "absent"):
            link = self.private / "ca.lock"
            link.symlink_to(target)
            self.refused(lambda: self.lock((OTHER, OTHER)), "is a symbolic link; remove it")
            link.unlink()
        self.assertFalse((self.root / "absent").exists())

    def test_hard_link(self) -> None:
        os.link(self.victim, self.private / "ca.lock")
        self.refused(lambda: self.lock((OTHER, OTHER)), "second name")

    def test_fifo(self) -> None:
        """The call does not wait for a FIFO's reader or writer."""
        os.mkfifo(self.private / "ca.lock")
        self.refused(self.lock, "not a regular file")

    def test_directory(self) -> None:
        (self.private / "ca.lock").mkdir()
        self.assertRaises(OSError, self.lock)

    def test_other_owner(self) -> None:
        """A file of the directory's owner is accepted; a file of another user is not."""
        self.lock()
        self.of_others()
        self.lock()
        with Folder(self.private) as folder:
            state = list(folder.state)
            state[stat.ST_UID] = OTHER + 2
            folder.state = os.stat_result(state)
            self.refused(lambda: folder.open_lock("ca.lock"), "belongs to another user")


class PutTests(FilesTestCase):
    """Files that replace others."""

    def put(self, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        with Folder(self.private) as folder:
            folder.put("ca.pem", b"new", mode, owner)
        self.assertEqual([path.name for path in self.private.iterdir()], ["ca.pem"])
        path = self.private / "ca.pem"
        self.assertEqual((path.read_bytes(), path.lstat().st_mode), (b"new", stat.S_IFREG | mode))

    def test_new_file(self) -> None:
        """The mode is exact, regardless of the umask of the process."""
        for mask in (0, 0o077):
            self.addCleanup(os.umask, os.umask(mask))
            self.put(0o644)
            self.put(0o600)

    def test_replace(self) -> None:
        """An existing entry is replaced; it is neither followed nor opened."""
        path = self.private / "ca.pem"
        for put_there in (
            lambda: path.symlink_to(self.victim),
            lambda: path.symlink_to(self.root / "absent"),
            lambda: os.link(self.victim, path),
            lambda: os.mkfifo(path),
        ):
            put_there()
            self.put()
            path.unlink()
        self.assertFalse((self.root / "absent").exists())

    def test_temporary_name_taken(self) -> None:
        """A name that another user predicted is not used."""
        self.patch(safe_files, "token_hex", lambda _: "guess")
        link = self.private / "ca.pem.guess.tmp"
        link.symlink_to(self.victim)
        self.assertRaises(FileExistsError, self.put)
        self.assertTrue(link.is_symlink())

    def test_directory_with_the_same_name(self) -> None:
        (self.private / "ca.pem").mkdir()
        self.assertRaises(OSError, self.put)
        self.assertEqual([path.name for path in self.private.iterdir()], ["ca.pem"])

    def test_owner(self) -> None:
        """The owner is set on the descriptor, before the content is written."""
        seen: list[tuple[int, int, int]] = []
        self.patch(os, "fchown", lambda number, owner, group: seen.append((os.fstat(number).st_size, owner, group)))
        self.put(0o600, (OTHER, OTHER + 1))
        self.assertEqual(seen, [(0, OTHER, OTHER + 1)])

    def test_renamed_directory(self) -> None:
        """A directory that is renamed meanwhile remains the target."""
        with Folder(self.private) as folder:
            moved = self.private.rename(self.root / "moved")
            self.private.symlink_to(self.shared)
            folder.put("ca.pem", b"new", 0o600)
        self.assertEqual((moved / "ca.pem").read_bytes(), b"new")
        self.assertEqual(list(self.shared.iterdir()), [])


class PrivateTests(FilesTestCase):
    """Directories for a key."""

    def test_private(self) -> None:
        check_private(self.private)

    def test_writable_by_other_users(self) -> None:
        for mode in (0o770, 0o707, 0o720, 0o1777):
            self.private.chmod(mode)
            self.refused(lambda: check_private(self.private), f"run chmod 700 {self.private}")

    def test_parents(self) -> None:
        """A user who can rename the directory can replace it; a sticky parent prevents that."""
        self.root.chmod(0o777)
        self.refused(lambda: check_private(self.private), f"run chmod o-w {self.root}")
        self.root.chmod(0o1777)
        check_private(self.private)

    def test_symbolic_link(self) -> None:
        """The parents of the directory are checked, and the parents of a link to it."""
        link = self.shared / "link"
        link.symlink_to(self.private)
        check_private(link)
        self.shared.chmod(0o777)
        self.refused(lambda: check_private(link), str(self.shared))

    def test_other_owner(self) -> None:
        self.of_others()
        self.refused(lambda: check_private(self.private), "belongs to another user")
        self.patch(os, "geteuid", lambda: 0)
        check_private(self.private)

    def test_create(self) -> None:
        """Other users cannot write to created directories, regardless of the umask."""
        self.addCleanup(os.umask, os.umask(0))
        path = self.root / "a" / "b" / "ca"
        for _ in range(2):
            make_private(path)
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
            self.assertEqual([each.stat().st_mode & 0o777 for each in list(path.parents)[:2]], [0o755, 0o755])
        check_private(path)

    def test_heir_of(self) -> None:
        self.of_others()
        state = self.private.stat()
        self.assertIsNone(heir_of(state))
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(heir_of(state), (state.st_uid, state.st_gid) if state.st_uid else None)


class ReadTests(FilesTestCase):
    """Files that are read."""

    def test_regular_files(self) -> None:
        self.assertEqual(read_plain(self.victim, 4), b"prec")
        # Container platforms mount such links.
        link = self.private / "key.pem"
        link.symlink_to(self.victim)
        self.assertEqual(read_plain(link, 100), b"precious")

    def test_other_kinds(self) -> None:
        """The call does not wait for a FIFO."""
        fifo = self.private / "fifo"
        os.mkfifo(fifo)
        self.assertRaises(IsADirectoryError, open_plain, self.private)
        for path in (fifo, Path(os.devnull)):
            self.refused(lambda path=path: open_plain(path), "not a regular file")  # type: ignore[misc]
        self.assertRaises(FileNotFoundError, read_plain, self.private / "absent", 1)


class ReplaceTests(FilesTestCase):
    """Files that commands write."""

    def test_modes(self) -> None:
        path = self.private / "out"
        replace_file(path, b"1")
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        path.chmod(0o600)
        replace_file(path, b"2")
        self.assertEqual((path.read_bytes(), path.stat().st_mode & 0o777), (b"2", 0o600))
        replace_file(path, b"3", 0o640)
        self.assertEqual(path.stat().st_mode & 0o777, 0o640)

    def test_mode_of_another_users_file(self) -> None:
        """The permissions of another user's file do not apply to the file that replaces it."""
        path = self.shared / "out"
        path.write_bytes(b"trap")
        path.chmod(0o666)
        self.of_others()
        replace_file(path, b"new")
        self.assertEqual((path.read_bytes(), path.stat().st_mode & 0o777), (b"new", 0o644))

    def test_symbolic_links(self) -> None:
        """The link itself is replaced."""
        for target in (self.victim, self.root / "absent"):
            path = self.shared / "out"
            path.symlink_to(target)
            replace_file(path, b"new")
            self.assertFalse(path.is_symlink())
            path.unlink()
        self.assertFalse((self.root / "absent").exists())

    def test_device(self) -> None:
        for path in (Path(os.devnull), self.private / "null"):
            if not path.exists():
                path.symlink_to(os.devnull)
            replace_file(path, b"gone")
            self.assertTrue(stat.S_ISCHR(path.stat().st_mode))

    def test_full_device(self) -> None:
        self.assertRaises(OSError, replace_file, Path("/dev/full"), b"x")

    def fifo(self, path: Path) -> int:
        """Create a FIFO with a reader."""
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        return reader

    def test_fifo(self) -> None:
        path = self.private / "fifo"
        reader = self.fifo(path)
        replace_file(path, b"through")
        self.assertEqual(os.read(reader, 100), b"through")

    def test_fifo_of_another_user(self) -> None:
        """No data is written to a FIFO that another user may have created."""
        path = self.shared / "fifo"
        reader = self.fifo(path)
        self.of_others()
        self.refused(lambda: replace_file(path, b"secret"), "belongs to another user")
        self.assertEqual(os.read(reader, 100), b"")


class LogTests(FilesTestCase):
    """Logs that are opened for appending."""

    def write(self, path: Path) -> os.stat_result:
        descriptor = open_log(path)
        try:
            os.write(descriptor, b"line\n")
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def test_permissions(self) -> None:
        """A file gets its permissions when it is created, regardless of the umask; an existing file keeps its own."""
        self.addCleanup(os.umask, os.umask(0o077))
        path = self.private / "audit.log"
        access = FileAccess(FileMode.GROUP_WRITES, os.getgid())
        os.close(open_log(path, access))
        self.assertEqual((stat.S_IMODE(path.stat().st_mode), path.stat().st_gid), (0o660, os.getgid()))
        os.close(open_log(path))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)

    def test_permissions_that_cannot_be_set(self) -> None:
        """No file with other permissions remains."""
        path = self.private / "audit.log"
        with mock.patch.object(os, "fchown", side_effect=PermissionError):
            self.assertRaises(PermissionError, open_log, path, FileAccess(group=5))
        self.assertFalse(path.exists())

    def test_created_by_another_process(self) -> None:
        """Workers create the file concurrently."""
        path = self.private / "audit.log"
        really_open, left = os.open, ["x"]

        def opened(name: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & os.O_EXCL and left:
                left.clear()
                path.write_text("first\n", "utf-8")
            return really_open(name, flags, *arguments, **named)

        with mock.patch.object(os, "open", opened):
            self.write(path)
        self.assertEqual(path.read_text("utf-8"), "first\nline\n")

    def test_regular_file(self) -> None:
        for directory in (self.private, self.shared):
            path = directory / "audit.log"
            self.assertEqual(self.write(path).st_mode & 0o777, 0o600)
            self.write(path)
            self.assertEqual(path.read_text(), "line\nline\n")

    def test_operators_link(self) -> None:
        """A link in a directory of the operator is followed, and its target is created."""
        (self.private / "hop").symlink_to("audit.real")
        (self.private / "audit.log").symlink_to(self.private / "hop")
        self.write(self.private / "audit.log")
        self.write(self.private / "audit.log")
        self.assertEqual((self.private / "audit.real").read_text(), "line\nline\n")

    def test_links_to_devices(self) -> None:
        (self.private / "null").symlink_to(os.devnull)
        self.assertTrue(stat.S_ISCHR(self.write(self.private / "null").st_mode))

    def test_descriptor(self) -> None:
        """C{/dev/stdout} and similar links point to open files, which may have no name."""
        near, far = os.pipe()
        self.addCleanup(os.close, near)
        self.addCleanup(os.close, far)
        (self.private / "out").symlink_to(f"/proc/self/fd/{far}")
        self.write(self.private / "out")
        self.assertEqual(os.read(near, 100), b"line\n")

    def test_link_in_a_shared_directory(self) -> None:
        for mode in (0o1777, 0o777, 0o775):
            self.shared.chmod(mode)
            for target in (self.victim, self.root / "absent"):
                link = self.shared / "audit.log"
                link.symlink_to(target)
                self.refused(lambda: open_log(self.shared / "audit.log"), "symbolic link", "specify its target")
                link.unlink()
        self.assertFalse((self.root / "absent").exists())

    def test_second_link_in_a_shared_directory(self) -> None:
        """The rule applies to each link."""
        (self.private / "audit.log").symlink_to(self.shared / "hop")
        (self.shared / "hop").symlink_to(self.victim)
        self.refused(lambda: open_log(self.private / "audit.log"), "symbolic link")

    def test_loop(self) -> None:
        (self.private / "audit.log").symlink_to("audit.log")
        self.assertRaises(OSError, open_log, self.private / "audit.log")

    def test_hard_link(self) -> None:
        os.link(self.victim, self.shared / "audit.log")
        self.refused(lambda: open_log(self.shared / "audit.log"), "second name")

    def test_file_of_another_user(self) -> None:
        """The owner of the file could read and change the log."""
        regular, fifo = self.shared / "audit.log", self.shared / "fifo"
        regular.touch(0o666)
        regular.chmod(0o666)
        os.mkfifo(fifo)
        self.addCleanup(os.close, os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
        self.of_others()
        for path in (regular, fifo):
            self.refused(lambda path=path: open_log(path), "belongs to another user")  # type: ignore[misc]
        self.shared.chmod(0o775)
        os.close(open_log(regular))

    def test_nothing_to_open(self) -> None:
        self.assertRaises(FileNotFoundError, open_log, self.private / "absent" / "audit.log")
        self.assertRaises(IsADirectoryError, open_log, self.private)


class SocketTests(FilesTestCase):
    """UNIX sockets."""

    def test_mode(self) -> None:
        """Sockets get exactly this mode; the umask is restored."""
        mask = os.umask(0o022)
        self.addCleanup(os.umask, mask)
        for mode in (0o600, 0o666, 0o660):
            path = self.private / f"{mode:o}"
            with socket_mode(mode):
                os.mknod(path, stat.S_IFSOCK | 0o777)
            self.assertEqual(path.stat().st_mode & 0o777, mode)
        self.assertEqual(os.umask(0o022), 0o022)

    def test_directory(self) -> None:
        for mode, refused in ((0o700, False), (0o1777, False), (0o775, False), (0o777, True)):
            self.shared.chmod(mode)
            path = str(self.shared / "socket")
            if refused:
                self.refused(lambda path=path: check_socket_directory(path), "run chmod o-w")  # type: ignore[misc]
            else:
                check_socket_directory(path)
        check_socket_directory("\0abstract")

    def test_remove(self) -> None:
        path = self.private / "socket"
        os.mknod(path, stat.S_IFSOCK | 0o600)
        for _ in range(2):
            remove_socket(str(path))
            self.assertFalse(path.exists())

    def test_other_files_are_not_removed(self) -> None:
        target = self.private / "target"
        os.mknod(target, stat.S_IFSOCK | 0o600)
        link = self.private / "link"
        link.symlink_to(target)
        for path in (self.victim, link, self.private):
            remove_socket(str(path))
            self.assertTrue(path.exists())
