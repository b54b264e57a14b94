"""Small thread pools, one for each kind of blocking work, so that no kind of work delays another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

R = TypeVar("R")

_log = Logger()

# The seconds after which an idle thread ends.
IDLE_SECONDS: Final = 30.0


class Offload(Protocol):
    """Runs a function in a thread."""

    def __call__(self, call: Callable[[], R], /) -> Deferred[R]:
        """Run a function.

        @return: fires with its result, or fails with its exception.
        """


def start_daemon(target: Callable[[], None], name: str) -> None:
    """Start a thread that does not prevent the process from exiting."""
    threading.Thread(target=target, name=name, daemon=True).start()


@attrs.define(eq=False)
class _Job:
    """One call.

    @ivar dropped: whether its result is no longer needed.
    """

    call: Callable[[], Any]
    done: Deferred[Any] = attrs.field(init=False)
    dropped: bool = False


class Threads:
    """A pool of at most C{size} threads, which starts jobs in the order of their arrival.

    The threads are daemons: a call that never returns, which is possible for C{getaddrinfo}, does not prevent the
    process from exiting.  A job that is cancelled before it starts never starts.  If a job is cancelled later, its
    result is discarded; its thread is busy until the call returns.

    The pool needs no start: threads start with the first jobs, and end after they were idle for L{IDLE_SECONDS}.

    @param reactor: provides C{IReactorFromThreads}.
    @param name: the name of the threads, for debuggers.
    """

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self._reactor = reactor
        self._name = name
        self._size = size
        self._changed = threading.Condition()
        # All threads share the following attributes, under the lock.
        self._jobs: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._threads = 0
        self._idle = 0
        self._ending = 0

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self._threads

    @property
    def waiting(self) -> int:
        """The number of queued jobs."""
        return len(self._jobs)

    def __call__(self, call: Callable[[], R], /) -> Deferred[R]:
        """Run a function in a thread; see L{Offload}."""
        job = _Job(call)
        job.done = Deferred(lambda _: self._drop(job))
        with self._changed:
            self._jobs.append(job)
            starts = len(self._jobs) > self._idle and self._threads < self._size
            if starts:
                self._threads += 1
            else:
                self._changed.notify()
        if starts:
            try:
                start_daemon(self._work, f"egress-{self._name}")
            except RuntimeError:
                # The system does not start another thread: the existing threads process the job.
                with self._changed:
                    self._threads -= 1
                    alone = self._threads == 0
                if alone:
                    job.done.cancel()
        return cast("Deferred[R]", job.done)

    def stop(self) -> None:
        """Cancel all jobs and let the threads end.

        A running call continues in its thread, and its result is discarded.  Later jobs start new threads.
        """
        with self._changed:
            jobs = [*self._jobs, *self._running]
            self._ending = self._idle
            self._changed.notify_all()
        for job in jobs:
            job.done.cancel()

    def _drop(self, job: _Job) -> None:
        with self._changed:
            job.dropped = True
            if job in self._jobs:
                self._jobs.remove(job)

    # -- called in the threads

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            result: Any
            try:
                result = job.call()
            except BaseException:  # noqa: BLE001 - any exception is a result, and the thread continues
                result = Failure()  # type: ignore[no-untyped-call]
            with self._changed:
                self._running.discard(job)
                dropped = job.dropped
            if not dropped:
                self._reactor.callFromThread(self._over, job, result)
            del job, result

    def _next(self) -> _Job | None:
        with self._changed:
            if not self._jobs:
                self._idle += 1
                self._changed.wait_for(lambda: self._jobs or self._ending, IDLE_SECONDS)
                self._idle -= 1
                self._ending = max(0, self._ending - 1)
            if not self._jobs:
                self._threads -= 1
                return None
            job = self._jobs.popleft()
            self._running.add(job)
            return job

    def _over(self, job: _Job, result: object) -> None:
        """Process the end of a job in the reactor's thread."""
        if not job.dropped:
            job.done.callback(result)
        elif isinstance(result, Failure):
            _log.debug("a call in a thread failed after it was cancelled: {failure}", failure=result.value)


class Pools:
    """The thread pools of a proxy: each kind of work has its own threads, so that no kind waits for another.

    @param lookups: the maximum number of concurrent name lookups.
    @param passwords: the maximum number of concurrent password checks.
    @ivar store: writes to the audit store, one batch after the other.
    @ivar files: reloads changed files, one after the other.
    @ivar keys: generates slow keys of leaf certificates, one after the other.
    """

    def __init__(self, reactor: Any, lookups: int, passwords: int) -> None:
        self.files = Threads(reactor, "files", 1)
        self.store = Threads(reactor, "store", 1)
        self.keys = Threads(reactor, "keys", 1)
        self.passwords = Threads(reactor, "passwords", passwords)
        self.lookups = Threads(reactor, "lookups", max(2, lookups))

    def stop(self) -> None:
        """Stop all pools; see L{Threads.stop}."""
        for threads in (self.files, self.store, self.keys, self.passwords, self.lookups):
            threads.stop()
