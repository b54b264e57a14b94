"""An incident: a fault that one or several processes report, and that ends when all of them work again."""

from __future__ import annotations

import enum


class Change(enum.Enum):
    """A change to report.

    @cvar BEGAN: the fault began, or its description changed.
    @cvar ENDED: the fault ended in all processes.
    """

    BEGAN = "began"
    ENDED = "ended"


class Incident:
    """A fault of several processes, which is reported once.

    @param follows: whether another description of the fault is reported.
    """

    def __init__(self, *, follows: bool = False) -> None:
        self._follows = follows
        self._faults: dict[str, str] = {}
        self._reported: str | None = None

    def report(self, source: str, fault: str | None) -> Change | None:
        """Take the state of one process.

        @param source: the process, or a part of it.
        @param fault: the description of its fault; C{None} if it works.
        @return: the change to report, if there is one.
        """
        if fault is None:
            self._faults.pop(source, None)
            if self._faults or self._reported is None:
                return None
            self._reported = None
            return Change.ENDED
        self._faults[source] = fault
        if self._reported is None or (self._follows and fault != self._reported):
            self._reported = fault
            return Change.BEGAN
        return None


class Holders:
    """What several processes wait for: each subject is reported once, while at least one process waits for it.

    @param limit: the number of subjects above which expired ones are forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The processes that wait for a subject, and the time until which they wait.
        self._subjects: dict[str, tuple[set[str], float]] = {}

    def __len__(self) -> int:
        """Return the number of subjects."""
        return len(self._subjects)

    def add(self, subject: str, source: str, until: float, now: float) -> bool:
        """Take a process that waits.

        @param subject: what it waits for.
        @param source: the process.
        @param until: when it stops waiting, even if it does not report that.
        @param now: the current time.
        @return: whether no process waited for the subject.
        """
        if len(self._subjects) >= self._limit:
            self._subjects = {key: each for key, each in self._subjects.items() if each[1] > now}
        sources, latest = self._subjects.get(subject, (set(), now))
        is_new = latest <= now
        if is_new:
            sources = set()
        sources.add(source)
        self._subjects[subject] = sources, max(latest, until)
        return is_new

    def remove(self, subject: str, source: str) -> None:
        """Take a process that no longer waits."""
        sources, _ = self._subjects.get(subject, (set(), 0.0))
        sources.discard(source)
        if not sources:
            self._subjects.pop(subject, None)
