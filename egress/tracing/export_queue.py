"""A bounded queue of exchanges, which a thread exports in batches.

The reactor only appends to the queue.  A collector that does not respond fills the queue; the exchanges that do not fit
are counted and not exported.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from egress.runtime.threads import start_daemon
from egress.tracing.settings import QueueSettings

T = TypeVar("T")


class ExportFailed(Exception):
    """A batch was not exported; the message is the reason."""


class ExportQueue(Generic[T]):
    """A queue with a thread, which starts with the first item.

    @param name: the name of the thread, for debuggers.
    @param settings: the limits of the queue.
    @param export: exports a batch, in the thread; raises L{ExportFailed} or any other exception if it fails.
    @param failed: is called in the thread with the reason of each failure.
    @ivar dropped: the number of items that were not exported.
    """

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        export: Callable[[Sequence[T]], object],
        failed: Callable[[str], object],
    ) -> None:
        self.dropped = 0
        self._name = name
        self._settings = settings
        self._export = export
        self._failed = failed
        self._changed = threading.Condition()
        # The threads share the following attributes, under the lock.
        self._items: deque[T] = deque()
        self._started = False
        self._closed: Callable[[], object] | None = None

    def put(self, item: T) -> None:
        """Append an item, or count it as dropped if the queue is full."""
        with self._changed:
            if len(self._items) >= self._settings.size or self._closed is not None or not self._start():
                self.dropped += 1
                return
            self._items.append(item)
            if len(self._items) == self._settings.batch:
                self._changed.notify()

    def _start(self) -> bool:
        """Start the thread; not before the first item, because a daemon forks after it has read its configuration."""
        if not self._started:
            try:
                start_daemon(self._work, f"egress-{self._name}")
            except RuntimeError:
                # The system does not start another thread now.
                return False
            self._started = True
        return True

    def close(self, closed: Callable[[], object]) -> None:
        """Export the items of the queue, and end the thread.

        @param closed: is called at the end, in the thread if there is one.
        """
        with self._changed:
            started = self._started
            self._closed = closed
            self._changed.notify()
        if not started:
            closed()

    # -- called in the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._ready, self._settings.delay)
                batch = [self._items.popleft() for _ in range(min(len(self._items), self._settings.batch))]
                closed = self._closed if not batch else None
            if batch:
                self._export_batch(batch)
            elif closed is not None:
                closed()
                return

    def _ready(self) -> bool:
        return len(self._items) >= self._settings.batch or self._closed is not None

    def _export_batch(self, batch: Sequence[T]) -> None:
        try:
            self._export(batch)
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises, the thread continues
            with self._changed:
                self.dropped += len(batch)
            self._failed(str(error) or type(error).__name__)
