"""The writes of connections that wait while one connection processes its input.

A client can send many requests in one read, and an origin many responses. Without a batch, each of them would be
written, encrypted, and passed to the kernel on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from twisted.logger import Logger

_log = Logger()


class WriteBatch:
    """A context manager: writes in its block are made at the end of the block, once for each connection.

    Blocks can be nested; the outermost block makes the writes.
    """

    __slots__ = ("_depth", "_waiting")

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: dict[Callable[[], object], None] = {}

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth or not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        for write in waiting:
            try:
                write()
            except Exception:  # noqa: BLE001 - the failure of one connection must not stop the others
                _log.failure("a postponed write failed")

    def add(self, write: Callable[[], object]) -> None:
        """Make a write at the end of the block; immediately, if there is none.

        @param write: writes what a connection has to write by then.
        """
        if self._depth:
            self._waiting[write] = None
        else:
            write()
