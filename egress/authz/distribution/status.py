"""Whether the policy of a URL may be used: it was loaded, and the last check is recent enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.authz.distribution.store import CheckStatus, PolicyStore

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_log = Logger()

LOOK_EVERY: Final = 1.0
# The clocks of a machine before and after a restart can differ by this, in seconds.
_MAX_AHEAD: Final = 60.0


class PolicyStatus:
    """The status of a policy URL in one process.

    One process checks the URL and writes the status to a file; all processes of the proxy read it from there.

    @param clock: schedules the reads.
    @param name: the name of the policy in messages for the operator.
    @param store: the files of the URL.
    @param max_age: the seconds after the last successful check for which the policy may be used; C{None}: no limit.
    @param is_loaded: returns whether a policy is in use.
    @param now: returns the seconds since the epoch.
    @param changed: is called when there is another version.
    """

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        store: PolicyStore,
        *,
        max_age: float | None,
        is_loaded: Callable[[], bool],
        now: Callable[[], float],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self._changed = changed
        self._name = name
        self._store = store
        self._max_age = max_age
        self._is_loaded = is_loaded
        self._now = now
        self._seen: tuple[int, int] | None = None
        self._status = CheckStatus()
        self._loop = LoopingCall(self.refresh)
        self._loop.clock = clock
        self.refresh()

    @property
    def checked(self) -> float | None:
        """The time of the last successful check, in seconds since the epoch."""
        return self._status.checked

    def start(self) -> None:
        """Read the status again when it changes."""
        if not self._loop.running:
            running = self._loop.start(LOOK_EVERY, now=False)
            running.addErrback(lambda failure: _log.failure("the status of the policy is no longer read", failure))

    def stop(self) -> None:
        """Stop reading it."""
        if self._loop.running:
            self._loop.stop()

    def refresh(self) -> None:
        """Read the status now, if its file changed."""
        try:
            state = self._store.status.stat()
        except OSError:
            # Without the file, the last known check counts: it becomes too old.
            return
        seen = (state.st_ino, state.st_mtime_ns)
        if seen != self._seen:
            first = self._seen is None and not self._loop.running
            self._seen = seen
            before, self._status = self._status, self._store.read_status()
            if self._status.digest != before.digest and not first:
                self._changed()

    def fault(self) -> str | None:
        """Return why the policy may not be used, for a client; C{None} if it may."""
        if not self._is_loaded():
            return f"{self._name} is not loaded yet"
        if self._max_age is None:
            return None
        age = self._age()
        if age is None or age > self._max_age:
            return f"the last successful check of {self._name} is older than --policy-max-age permits"
        return None

    def _age(self) -> float | None:
        """Return the seconds since the last successful check; C{None} if its time is not plausible."""
        checked = self._status.checked
        if checked is None:
            return None
        age = self._now() - checked
        return age if age >= -_MAX_AHEAD else None

    def note(self) -> str:
        """Return what the operator must know; empty if the last check succeeded."""
        why = self._status.fault
        return f"the last check of {self._name} failed: {why}" if why else ""
