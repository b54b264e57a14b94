"""The lock file of C{egress run}: recorded the first time, and verified afterwards."""

from __future__ import annotations

from pathlib import Path

from egress.cli.errors import CommandFailed
from egress.cli.lock import read_lock
from egress.cli.output import write_file
from egress.model.counted import counted
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.lockfile import Detail, Egress, compare, in_lines


class RunLock:
    """Compares the destinations of a command with a lock file, or writes a new lock file.

    @param path: the lock file.
    @raise egress.cli.errors.Misused: if there is a lock file that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = read_lock(path) if path.exists() else None
        self._found = Egress(Detail.METHOD if self._lock is None else self._lock.detail)

    def add(self, line: AuditLine) -> None:
        """Add a request of the command."""
        self._found.add(line)

    def finish(self) -> tuple[list[str], list[str] | None]:
        """Write the lock file, or compare it with the requests.

        @return: lines for the user; and the lines to add to the lock file, or C{None} if it cannot be written.
        """
        if self._lock is None:
            lock = self._found.lock()
            try:
                write_file(self._path, lock.write())
            except CommandFailed as error:
                return [str(error)], None
            return [f"{self._path}: recorded {counted(len(lock.destinations), 'destination')}"], []
        difference = compare(self._lock, self._found)
        lines, new = in_lines(difference), [str(one) for one, _ in difference.new]
        if not new:
            return [*lines, f"{self._path}: no new destinations"], new
        words = (
            f"{self._path}: {counted(len(new), 'new destination')}. To accept, review the lines, and add to the file:"
        )
        return [*lines, words, "", *(f"    {line}" for line in new)], new
