"""Progress bars of commands that take long."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, TextIO

# A command that ends before this time shows no bar.
_PATIENCE: Final = 0.5


class Progress:
    """The progress of a task, which is displayed when the task takes long.

    @param what: what the command does, as in C{"reading"}.
    @param total: the amount of work; C{None} if it is unknown.
    @param show: makes the bar; C{None}: no bar.
    @param clock: returns the time in seconds.
    """

    def __init__(
        self,
        what: str,
        total: float | None,
        show: Callable[[], Any] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._show = show
        self._clock = clock
        self._begun = clock()
        self._done = 0.0
        self._bar: Any = None
        self._task: Any = None

    def advance(self, amount: float = 1) -> None:
        """Add an amount of work that is done."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif self._show is not None and self._clock() - self._begun >= _PATIENCE:
            self._bar = self._show()
            self._task = self._bar.add_task(self._what, total=self._total, completed=self._done)
            self._bar.start()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(
    what: str, total: float | None = None, stream: TextIO | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Progress]:
    """Show the progress of a task on standard error, if it is a terminal.

    @param what: what the command does.
    @param total: the amount of work; C{None} if it is unknown.
    @param stream: the stream; C{None}: standard error.
    @param environ: the environment; C{None}: that of this process.
    """
    err = sys.stderr if stream is None else stream
    terminal = err.isatty() and (os.environ if environ is None else environ).get("TERM") != "dumb"
    running = Progress(what, total, (lambda: _bar(err)) if terminal else None)
    try:
        yield running
    finally:
        running.close()


def _bar(stream: TextIO) -> Any:
    """Make a bar that disappears at the end.  The library is loaded here: most commands do not need it."""
    console = import_module("rich.console").Console(file=stream)
    return import_module("rich.progress").Progress(console=console, transient=True)
