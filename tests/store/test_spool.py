"""Tests for L{egress.store.spool}, with real files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.store import spool as module
from egress.store.interfaces import StoreError
from egress.store.spool import Spool
from tests.files import make_directory

LINES = [b'{"time_ms":1500}\n', b'{"time_ms":2500}\n', b'{"time_ms":3500}\n']


class SpoolTestCase(SynchronousTestCase):
    """Has a spool."""

    def setUp(self) -> None:
        self.directory = make_directory(self) / "spool" / "one"
        self.spool = self.open()

    def open(self, max_bytes: int = 1000) -> Spool:
        spool = Spool(self.directory, max_bytes)
        self.addCleanup(spool.close)
        return spool

    def files(self) -> list[Path]:
        return sorted(self.directory.iterdir())

    def all_lines(self, spool: Spool) -> list[bytes]:
        found: list[bytes] = []
        while lines := spool.next_lines(2):
            found += lines
            spool.remove(lines)
        return found


class ReadAndWriteTests(SpoolTestCase):
    """Records are read in the order of writing."""

    def test_order(self) -> None:
        self.spool.append(LINES[:2])
        self.assertEqual((self.spool.records, self.spool.size, self.spool.oldest()), (2, 34, 1.5))
        self.assertEqual(self.spool.next_lines(1), LINES[:1])
        self.spool.remove(LINES[:1])
        self.spool.append(LINES[2:])
        self.assertEqual((self.spool.records, self.spool.size, self.spool.oldest()), (2, 34, 2.5))
        self.assertEqual(self.all_lines(self.spool), LINES[1:])
        self.assertEqual((self.spool.records, self.spool.size, self.spool.oldest()), (0, 0, None))
        self.assertEqual(self.files()[0].stat().st_size, 0, "an empty spool takes no space")

    def test_flushed(self) -> None:
        """Each batch is flushed to the disk."""
        with mock.patch.object(os, "fdatasync") as flush:
            self.spool.append(LINES)
        self.assertEqual(flush.call_count, 1)

    def test_private(self) -> None:
        self.spool.append(LINES)
        self.assertEqual(stat.S_IMODE(self.files()[0].stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)

    def test_full(self) -> None:
        spool = self.open(40)
        spool.append(LINES[:2])
        error = self.assertRaises(StoreError, spool.append, LINES[2:])
        self.assertIn("the spool is full: set a larger --audit-spool-size", str(error))
        self.assertEqual(self.all_lines(spool), LINES[:2])
        spool.append(LINES[2:])
        self.assertEqual(self.all_lines(spool), LINES[2:])

    def test_full_disk(self) -> None:
        """A batch that cannot be written as a whole is not written at all."""
        self.spool.append(LINES[:1])
        write = os.pwrite

        def write_a_part(descriptor: int, data: memoryview, at: int) -> int:
            if at > 20:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data[:5], at)

        with mock.patch.object(os, "pwrite", write_a_part):
            error = self.assertRaises(StoreError, self.spool.append, LINES[1:])
        self.assertIn("No space left on device", str(error))
        self.assertEqual(self.files()[0].read_bytes(), LINES[0])
        self.spool.append(LINES[2:])
        self.assertEqual(self.all_lines(self.spool), [LINES[0], LINES[2]])

    def test_long_lines(self) -> None:
        self.patch(module, "_CHUNK", 8)
        self.spool.append(LINES)
        self.assertEqual(self.all_lines(self.spool), LINES)

    def test_prepare(self) -> None:
        """The directories exist before a process gives up its rights."""
        self.spool.prepare()
        self.spool.prepare()
        self.assertEqual(self.files(), [])
        with mock.patch.object(os, "access", return_value=False):
            self.assertRaises(PermissionError, self.spool.prepare)

    def test_prepare_for_another_user(self) -> None:
        """Root creates the directories for the user of the state directory."""
        with (
            mock.patch.object(module, "heir_of", return_value=(1000, 1001)),
            mock.patch.object(os, "chown") as chown,
        ):
            self.spool.prepare()
            self.spool.prepare()
        self.assertEqual(
            chown.call_args_list, [mock.call(path, 1000, 1001) for path in (self.directory.parent, self.directory)]
        )

    def test_unusable_directory(self) -> None:
        self.directory.parent.mkdir()
        self.directory.write_bytes(b"")
        self.assertIn("exists", str(self.assertRaises(StoreError, self.spool.append, LINES)).lower())


class SuccessorTests(SpoolTestCase):
    """A process finds the records of one that has ended."""

    def test_restart(self) -> None:
        self.spool.append(LINES)
        self.spool.remove(self.spool.next_lines(1))
        self.spool.close()
        successor = self.open()
        self.assertEqual(successor.records, 0)
        successor.take_over()
        self.assertEqual(self.all_lines(successor), LINES, "the store ignores a record that it has")
        successor.close()
        self.assertEqual(self.files(), [], "no empty file remains")

    def test_own_files(self) -> None:
        """Each process has a file of its own, and takes none of a process that runs."""
        other = self.open()
        self.spool.append(LINES[:1])
        other.append(LINES[1:])
        self.assertEqual(len(self.files()), 2)
        other.take_over()
        self.all_lines(other)
        other.take_over()
        self.assertEqual((other.records, self.spool.records), (0, 1))

    def test_take_over(self) -> None:
        """A process takes over the files of several ones, after its own, one after the other."""
        processes = [self.open() for _ in range(3)]
        for process, line in zip(processes, LINES, strict=True):
            process.append([line])
        for process in processes[1:]:
            process.close()
        mine = processes[0]
        found: list[bytes] = []
        for _ in range(4):
            mine.take_over()
            found += self.all_lines(mine)
        self.assertEqual(sorted(found), LINES)
        self.assertEqual(len(self.files()), 1)

    def test_write_after_take_over(self) -> None:
        """The records of another process are stored first; own ones go to the own file."""
        other = self.open()
        self.spool.append(LINES[:1])
        other.append(LINES[1:2])
        self.all_lines(self.spool)
        other.close()
        self.spool.take_over()
        self.spool.append(LINES[2:])
        self.assertEqual(self.spool.records, 2)
        self.assertEqual(self.all_lines(self.spool), LINES[1:])

    def test_append_reuses_a_file(self) -> None:
        """The first batch of a process continues the file of one that was killed."""
        self.spool.append(LINES[:1])
        self.spool.close()
        successor = self.open()
        successor.append(LINES[1:])
        self.assertEqual((self.all_lines(successor), len(self.files())), (LINES, 1))

    def test_torn_line(self) -> None:
        """The rest of a line that the end of a process has torn is removed."""
        for torn in (b'{"time_ms":15', b""):
            with self.subTest(torn):
                self.directory.mkdir(parents=True, exist_ok=True)
                (self.directory / "a.jsonl").write_bytes(b"".join(LINES[:2]) + torn)
                successor = self.open()
                successor.append(LINES[2:])
                self.assertEqual(self.all_lines(successor), LINES)
                successor.close()

    def test_only_a_torn_line(self) -> None:
        self.directory.mkdir(parents=True)
        (self.directory / "a.jsonl").write_bytes(b'{"time_ms":15')
        self.spool.append(LINES)
        self.assertEqual(self.all_lines(self.spool), LINES)

    def test_no_directory(self) -> None:
        self.spool.take_over()
        self.assertFalse(self.directory.exists())

    def test_other_files(self) -> None:
        """A link is not followed."""
        self.directory.mkdir(parents=True)
        target = self.directory.parent / "target"
        (self.directory / "a.jsonl").symlink_to(target)
        self.assertIn("symbolic link", str(self.assertRaises(StoreError, self.spool.append, LINES)))
        self.assertFalse(target.exists())
