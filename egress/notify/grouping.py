"""Groups of repeated events: the first event of a group is reported immediately, the next ones in a summary."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

import attrs

# The maximum number of groups that are counted one by one.
MAX_GROUPS: Final = 1000


@attrs.define
class Group:
    """The events of one group since the last summary.

    @ivar data: the facts about the latest event.
    @ivar count: the number of events that were not reported yet.
    @ivar latest: the time of the latest event, in seconds.
    """

    data: Mapping[str, Any]
    count: int
    latest: float


@attrs.frozen
class Summary:
    """The events of one interval that were not reported one by one.

    @ivar groups: the groups with the most events, the largest first.
    @ivar count: the number of all events.
    @ivar total: the number of all groups; a group beyond L{MAX_GROUPS} is not counted.
    @ivar since: the start of the interval, in seconds.
    """

    groups: tuple[Group, ...]
    count: int
    total: int
    since: float


class Grouping:
    """Counts events by group.

    However many events and groups there are, an interval has a limited number of reports: the first events of a few
    groups, and one summary.  Each event is part of exactly one report.

    @param interval: the seconds of an interval.
    @param firsts: the maximum number of groups in an interval whose first event is reported immediately.
    @param listed: the maximum number of groups in a summary.
    @ivar due: when the next call of L{flush} is due, in seconds; C{None} if there is nothing to report or to forget.
    """

    def __init__(self, interval: float, firsts: int, listed: int) -> None:
        self.due: float | None = None
        self._interval = interval
        self._max_firsts = firsts
        self._listed = listed
        self._groups: dict[Hashable, Group] = {}
        self._others = 0
        self._firsts = 0
        self._since = 0.0

    def add(self, key: Hashable, data: Mapping[str, Any], count: int, now: float) -> bool:
        """Count events of one group.

        @param key: the key of the group.
        @param data: the facts about the latest of these events.
        @param count: the number of events.
        @param now: the current time, in seconds.
        @return: whether to report them immediately.
        """
        if self.due is None:
            self._begin(now)
        group = self._groups.get(key)
        if group is not None:
            group.data, group.latest = data, now
            group.count += count
            return False
        reported = self._firsts < self._max_firsts
        if reported:
            self._firsts += 1
        if len(self._groups) < MAX_GROUPS:
            self._groups[key] = Group(data, 0 if reported else count, now)
        elif not reported:
            self._others += count
        return reported

    def _begin(self, now: float) -> None:
        self._since = now
        self._firsts = 0
        self.due = now + self._interval

    def flush(self, now: float) -> Summary | None:
        """End the interval, and begin the next one.

        A group without an event in this interval is forgotten: its next event is reported immediately.

        @return: the events to report, if there are any.
        """
        counted = sorted((group for group in self._groups.values() if group.count), key=lambda each: -each.count)
        summary = None
        if counted or self._others:
            # The groups continue to count.
            listed = tuple(attrs.evolve(group) for group in counted[: self._listed])
            count = sum(group.count for group in counted) + self._others
            summary = Summary(listed, count, len(counted), self._since)
        self._groups = {key: group for key, group in self._groups.items() if group.latest >= self._since}
        for group in self._groups.values():
            group.count = 0
        self._others = 0
        if self._groups:
            self._begin(now)
        else:
            self.due = None
        return summary
