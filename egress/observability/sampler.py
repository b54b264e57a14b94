"""The sampler of the metrics, for the charts of the web console."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.observability.health import Coalesced, Page
from egress.observability.history import History, Reading
from egress.runtime.safe_files import read_plain, replace_file
from egress.runtime.threads import Offload

_log = Logger()

SECONDS: Final = 10.0
"""The time between two readings."""

_FRESH_SECONDS: Final = 1.0
_SAVE_SECONDS: Final = 60.0
_MAX_BYTES: Final = 4 * 1024 * 1024
_MODE: Final = 0o600


class Sampler:
    """Reads the metrics from time to time, and stores their history in a file, so that a restart does not lose it.

    @param clock: schedules the readings.
    @param wall_clock: returns the seconds since the epoch.
    @param metrics: renders the metrics of all processes in the text format.
    @param offload: reads and writes the file in a thread.
    @param path: the file; C{None}: the history is not stored.
    @ivar history: the history.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        metrics: Callable[[], Page | Deferred[Page]],
        *,
        offload: Offload,
        path: Path | None,
    ) -> None:
        self.history = History()
        self._clock = clock
        self._wall_clock = wall_clock
        self._metrics = metrics
        self._offload = offload
        self._path = path
        self._scheduled: Any = None
        self._reading: Deferred[Any] | None = None
        self._shared = Coalesced(self._read_now)
        self._next = clock.seconds()
        self._save_at = clock.seconds() + _SAVE_SECONDS
        self._failed = False
        self._stopped = False

    def start(self) -> Deferred[None]:
        """Load the history, and begin to read the metrics.

        @return: fires when the history is loaded.
        """
        loaded: Deferred[Any] = self._offload(self._load)
        return loaded.addCallbacks(self._restore, self._not_loaded).addCallback(lambda _: self._begin())

    def _load(self) -> bytes | None:
        if self._path is None:
            return None
        try:
            return read_plain(self._path, _MAX_BYTES)
        except FileNotFoundError:
            return None

    def _restore(self, content: bytes | None) -> None:
        if content is None:
            return
        try:
            self.history.restore(json.loads(content))
        except (ValueError, RecursionError) as error:
            # The next write replaces the file.
            _log.warn("{path}: the charts of the console begin now: {reason}", path=self._path, reason=error)

    def _not_loaded(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
            self._warn(failure)

    def _begin(self) -> None:
        self._scheduled = None
        self.read().addCallback(lambda _: self._schedule())

    def read(self) -> Deferred[None]:
        """Read the metrics now, unless that was done within the last second, so that a page has the current numbers.

        @return: fires when the history has them.
        """
        if self._stopped or self._clock.seconds() < self._next:
            return succeed(None)
        return self._shared.call()

    def _read_now(self) -> Deferred[None]:
        self._next = self._clock.seconds() + _FRESH_SECONDS
        self._reading = maybeDeferred(self._metrics)
        return self._reading.addCallback(self._add).addErrback(self._not_read)

    def _add(self, page: Page) -> None:
        self.history.add(Reading.parse(page[0].decode("utf-8")), self._wall_clock())

    def _not_read(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
            _log.failure("the metrics for the console cannot be read", failure)

    def _schedule(self) -> None:
        if self._stopped:
            return
        self._scheduled = self._clock.callLater(SECONDS, self._begin)
        if self._path is not None and self._clock.seconds() >= self._save_at:
            self._save_at = self._clock.seconds() + _SAVE_SECONDS
            content = self._content()
            self._offload(lambda: self._save(content)).addCallbacks(self._saved, self._not_loaded)

    def _content(self) -> bytes:
        return json.dumps(self.history.to_json()).encode("ascii")

    def _save(self, content: bytes) -> None:
        assert self._path is not None  # the caller has checked it
        replace_file(self._path, content, _MODE)

    def _saved(self, _: object) -> None:
        self._failed = False

    def _warn(self, failure: Failure) -> None:
        if not self._failed:
            self._failed = True
            reason = failure.getErrorMessage()
            _log.warn("{path}: the charts of the console are not stored: {reason}", path=self._path, reason=reason)

    def stop(self) -> None:
        """Stop reading the metrics, and store the history."""
        self._stopped = True
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self._reading is not None:
            self._reading.cancel()
        if self._path is not None and self.history.current is not None:
            try:
                self._save(self._content())
            except OSError:
                self._warn(Failure())  # type: ignore[no-untyped-call]
