"""Threads of clients: they run until they are stopped, and an error of one does not look like success."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class ClientThreads:
    """Threads of clients.

    @param patience: the maximum number of seconds of one request.
    @ivar over: is set when the threads must end after their current requests.
    @ivar defects: errors of the clients themselves.
    """

    def __init__(self, patience: float) -> None:
        self.over = threading.Event()
        self.defects: list[str] = []
        self._patience = patience
        self._threads: list[threading.Thread] = []

    def add(self, run: Callable[..., object], *arguments: object) -> None:
        """Add a thread that calls a function, which returns soon after C{over} is set."""

        def guarded() -> None:
            try:
                run(*arguments)
            except Exception as error:
                self.defects.append(f"a client failed: {error!r}")
                raise

        self._threads.append(threading.Thread(target=guarded, daemon=True))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each thread finish its current request."""
        self.over.set()
        deadline = time.monotonic() + 2 * self._patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self.defects.append("a client does not finish")
