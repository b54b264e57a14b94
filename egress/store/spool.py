"""The spool: a file in which records wait while the server of an audit store cannot be reached.

Each process has its own file, which it locks.  A process begins with a file that another process has left, and later
takes over further ones: so the successor of a process that was killed finds its records.

Each batch is flushed to the disk (C{fdatasync(2)}): it survives the end of the process and of the machine.  A line that
such an end has torn was never reported as written, and is removed.  Lines are read in the order in which they were
written.  The file is emptied once all of them are stored; if a process ends before, its successor reads all of them
again, and the store ignores records that it has.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from egress.runtime.safe_files import Folder, heir_of, make_private
from egress.store.interfaces import StoreError

_SUFFIX: Final = ".jsonl"
_CHUNK: Final = 1024 * 1024


class SpoolFile:
    """One locked file.

    @param descriptor: its descriptor, which this object owns.
    @ivar path: the file.
    @ivar size: its size.
    @ivar records: the number of lines that were not read yet.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._read = 0
        self.size = 0
        self.records = 0
        whole = 0
        for chunk in self._chunks():
            self.records += chunk.count(b"\n")
            end = chunk.rfind(b"\n")
            if end >= 0:
                whole = self.size + end + 1
            self.size += len(chunk)
        if whole < self.size:
            os.ftruncate(descriptor, whole)
            self.size = whole

    def _chunks(self) -> Iterator[bytes]:
        at = 0
        while chunk := os.pread(self._descriptor, _CHUNK, at):
            yield chunk
            at += len(chunk)

    @property
    def waiting(self) -> int:
        """The bytes that were not read yet."""
        return self.size - self._read

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines, all of them or none.

        @raise OSError: if they cannot be written.
        """
        data = memoryview(b"".join(lines))
        at = self.size
        try:
            while data:
                written = os.pwrite(self._descriptor, data, at)
                at += written
                data = data[written:]
            os.fdatasync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size = at
        self.records += len(lines)

    def next_lines(self, number: int) -> list[bytes]:
        """Return the next lines, without removing them."""
        size = _CHUNK
        while True:
            data = os.pread(self._descriptor, min(size, self.waiting), self._read)
            lines = data.splitlines(keepends=True)
            if lines and not lines[-1].endswith(b"\n"):
                lines.pop()
            if lines or len(data) >= self.waiting:
                return lines[:number]
            # One line is longer.
            size *= 2

    def remove(self, lines: Sequence[bytes]) -> None:
        """Remove the first lines, which L{next_lines} has returned."""
        self._read += sum(map(len, lines))
        self.records -= len(lines)
        if not self.records:
            os.ftruncate(self._descriptor, 0)
            self._read = self.size = 0

    def close(self) -> None:
        """Unlock and close the file; delete it if no line waits in it."""
        if not self.records:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)


class Spool:
    """The spool of a process.

    @param directory: the directory, which processes with the same store share.
    @param max_bytes: the maximum size of a file.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._own: SpoolFile | None = None
        # The file of another process.
        self._other: SpoolFile | None = None

    def prepare(self) -> None:
        """Create the directory, and check that files can be created in it; root creates it for the user of its parent.

        @raise OSError: if that is not possible.
        """
        outer = self.directory.parent
        missing = [path for path in (outer, self.directory) if not path.exists()]
        make_private(outer)
        make_private(self.directory)
        owner = heir_of(outer.parent.stat())
        for path in missing:
            if owner is not None:
                os.chown(path, *owner)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.directory))

    @property
    def records(self) -> int:
        """The number of waiting records."""
        return sum(each.records for each in (self._own, self._other) if each is not None)

    @property
    def size(self) -> int:
        """The size of the waiting records."""
        return sum(each.waiting for each in (self._own, self._other) if each is not None)

    def oldest(self) -> float | None:
        """Return the time of the record that is stored next, in seconds since the epoch; C{None} if none waits."""
        for line in self.next_lines(1):
            with suppress(ValueError, KeyError, TypeError):
                return float(json.loads(line)["time_ms"]) / 1000
        return None

    def append(self, lines: Sequence[bytes]) -> None:
        """Append records, all of them or none.

        @raise StoreError: if the file is full, or cannot be written.
        """
        try:
            own = self._own or self._open()
            if own.size + sum(map(len, lines)) > self._max_bytes:
                raise StoreError(f"{own.path}: the spool is full: set a larger --audit-spool-size")
            own.append(lines)
        except OSError as error:
            raise StoreError(f"{error.filename or self.directory}: {error.strerror}") from error

    def next_lines(self, number: int) -> list[bytes]:
        """Return the next records, the oldest first."""
        for file in (self._other, self._own):
            if file is not None and file.records:
                return file.next_lines(number)
        return []

    def remove(self, lines: Sequence[bytes]) -> None:
        """Remove the records that L{next_lines} has returned."""
        for file in (self._other, self._own):
            if file is not None and file.records:
                file.remove(lines)
                break
        if self._other is not None and not self._other.records:
            self._other.close()
            self._other = None

    def take_over(self) -> None:
        """Take over the records of a process that has ended, unless records wait already.

        @raise StoreError: if the files cannot be used.
        """
        if self.records or not self.directory.is_dir():
            return
        try:
            with Folder(self.directory) as folder:
                for name in self._names():
                    if self._own is not None and name == self._own.path.name:
                        continue
                    found = self._locked(folder, name)
                    if found is None:
                        continue
                    if not found.records:
                        found.close()
                    elif self._own is None:
                        self._own = found
                        return
                    else:
                        self._other = found
                        return
        except OSError as error:
            raise StoreError(f"{error.filename or self.directory}: {error.strerror}") from error

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name.endswith(_SUFFIX))

    def _open(self) -> SpoolFile:
        """Open a file that another process has left, or a new one."""
        make_private(self.directory)
        with Folder(self.directory) as folder:
            for name in (*self._names(), f"{token_hex(8)}{_SUFFIX}"):
                found = self._locked(folder, name)
                if found is not None:
                    self._own = found
                    return found
        raise StoreError(f"{self.directory}: another process has taken a file with a random name")

    def _locked(self, folder: Folder, name: str) -> SpoolFile | None:
        """Open and lock a file; return C{None} if another process has it."""
        descriptor = folder.open_lock(name, heir_of(folder.state))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process can have deleted the file before it was locked.
            if os.fstat(descriptor).st_nlink:
                return SpoolFile(self.directory / name, descriptor)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def close(self) -> None:
        """Close the files."""
        for file in (self._own, self._other):
            if file is not None:
                file.close()
        self._own = self._other = None
