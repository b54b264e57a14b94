"""The feed of new records for the Live page: one poller of the audit store for all browsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.console.live_view import row_of
from egress.console.page import EventSink
from egress.console.reads import StoreReads
from egress.store.filter_language import Filter
from egress.store.interfaces import IAuditStore, StoreError

_log = Logger()

MAX_VIEWERS: Final = 16
"""The maximum number of browsers that follow the decisions."""

ROWS: Final = 100
"""The maximum number of records of one event."""

TICK: Final = 0.25
"""The time between two reads, in seconds."""

_RETRY: Final = 2.0
# Records that are older than this number of later ones are not examined: the page shows how many.
_BACKLOG: Final = 1000
_PING: Final = 15.0
_STALLED: Final = 30.0


@attrs.define(eq=False, kw_only=True)
class _Viewer:
    """One browser.

    @ivar sink: receives its events.
    @ivar key: the text of its filter, which identifies it.
    @ivar given: its filter.
    @ivar continues: returns whether its session continues.
    @ivar seq: the number of the last record that was examined for it; C{None}: all later ones are new.
    @ivar more: the number of records that it did not get.
    @ivar sent: when it got the last event.
    @ivar resumes: when its filter is read again after an error of the filter.
    """

    sink: EventSink
    key: str
    given: Filter
    continues: Callable[[], bool]
    seq: int | None
    more: int = 0
    sent: float = 0.0
    resumes: float = 0.0


@attrs.frozen
class _Found:
    """The new records of one filter.

    @ivar seq: the number of the last record that was examined.
    @ivar records: the last of them.
    @ivar more: how many others there are, or were not examined.
    """

    seq: int
    records: list[Mapping[str, Any]]
    more: int


_Key = tuple[str, int | None]
_Results = dict[_Key, "_Found | StoreError"]


class LiveFeed:
    """Reads new records while browsers follow, and sends them.

    @param clock: schedules the reads.
    @param reads: the audit store.
    """

    def __init__(self, clock: IReactorTime, reads: StoreReads) -> None:
        self._clock = clock
        self._reads = reads
        self._viewers: list[_Viewer] = []
        self._reading = False
        self._scheduled: Any = None

    @property
    def is_full(self) -> bool:
        """Whether no further browser can follow."""
        return len(self._viewers) >= MAX_VIEWERS

    def join(
        self, sink: EventSink, key: str, given: Filter, after: int | None, continues: Callable[[], bool]
    ) -> Callable[[], None]:
        """Send new records to a browser.

        @param sink: receives the events.
        @param key: the text of the filter.
        @param given: the filter.
        @param after: the number of the last record that the browser has; C{None}: the last of all.
        @param continues: returns whether the session of the browser continues.
        @return: a function that removes the browser.
        """
        viewer = _Viewer(sink=sink, key=key, given=given, continues=continues, seq=after, sent=self._clock.seconds())
        self._viewers.append(viewer)
        if not self._reading and self._scheduled is None:
            self._tick()

        def leave() -> None:
            if viewer in self._viewers:
                self._viewers.remove(viewer)
            if not self._viewers and self._scheduled is not None:
                self._scheduled.cancel()
                self._scheduled = None

        return leave

    def _tick(self) -> None:
        self._scheduled = None
        for viewer in [*self._viewers]:
            self._check(viewer)
        # Browsers with the same filter share a read.
        now = self._clock.seconds()
        wanted = {(viewer.key, viewer.seq): viewer.given for viewer in self._viewers if now >= viewer.resumes}
        if not self._viewers:
            return
        self._reading = True
        found: Deferred[_Results] = self._reads.call(lambda store: _read(store, wanted))
        found.addCallbacks(self._send, self._failed).addErrback(self._bug)

    def _check(self, viewer: _Viewer) -> None:
        """End the stream of a browser that has signed out, or receives nothing."""
        now = self._clock.seconds()
        if not viewer.continues():
            viewer.sink.send("ended", "")
            viewer.sink.end()
        elif viewer.sink.is_writable and now - viewer.sent >= _PING:
            viewer.sent = now
            viewer.sink.send("ping", "")
        elif not viewer.sink.is_writable and now - viewer.sent >= _STALLED:
            viewer.sink.end()

    def _send(self, found: _Results) -> None:
        for viewer in [*self._viewers]:
            result = found.get((viewer.key, viewer.seq))
            if result is None:
                # It came during the read.
                continue
            if isinstance(result, StoreError):
                # The other filters can be read.
                viewer.resumes = self._clock.seconds() + _RETRY
                self._send_fault(viewer, str(result))
                continue
            viewer.seq = result.seq
            viewer.more += result.more
            if not viewer.sink.is_writable:
                viewer.more += len(result.records)
            elif result.records or viewer.more:
                self._send_rows(viewer, result)
        self._again(TICK)

    def _send_rows(self, viewer: _Viewer, result: _Found) -> None:
        rows = [attrs.asdict(row_of(record)) for record in result.records]
        viewer.sink.send("rows", json.dumps({"seq": result.seq, "rows": rows, "more": viewer.more}))
        viewer.more = 0
        viewer.sent = self._clock.seconds()

    def _failed(self, failure: Failure) -> None:
        failure.trap(StoreError)  # type: ignore[no-untyped-call]
        for viewer in [*self._viewers]:
            self._send_fault(viewer, failure.getErrorMessage())
        self._again(_RETRY)

    def _send_fault(self, viewer: _Viewer, text: str) -> None:
        if viewer.sink.is_writable:
            viewer.sink.send("fault", json.dumps({"text": text}))

    def _bug(self, failure: Failure) -> None:
        _log.failure("the live feed of the console failed", failure)
        self._again(_RETRY)

    def _again(self, seconds: float) -> None:
        self._reading = False
        if self._viewers and self._scheduled is None:
            self._scheduled = self._clock.callLater(seconds, self._tick)


def _read(store: IAuditStore, wanted: Mapping[_Key, Filter]) -> _Results:
    """Read the new records of each filter, in a thread."""
    last = store.last_seq()
    return {key: _new(store, given, key[1], last) for key, given in wanted.items()}


def _new(store: IAuditStore, given: Filter, seq: int | None, last: int) -> _Found | StoreError:
    if seq is None or seq >= last:
        return _Found(last, [], 0)
    begin = max(seq, last - _BACKLOG)
    try:
        examined, records = store.written_after(given, begin)
    except StoreError as error:
        # A file has no column for some conditions.
        return error
    shown = records[-ROWS:]
    return _Found(examined, shown, begin - seq + len(records) - len(shown))


def parse_seq(text: str) -> int | None:
    """Return the number of a record that a browser sends; C{None} for every other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
