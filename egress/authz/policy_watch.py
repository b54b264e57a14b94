"""Following a policy in its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.config.model import ConfigError
from egress.model.statistics import PolicyReloadStats

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from egress.policy.rules import RuleSet

_log = Logger()

# A few stat(2).
LOOK_EVERY: Final = 1.0

_State = tuple[int, int, int, int] | None


class PolicyWatch:
    """Keeps what decides at the policy that is in its files.

    What cannot be used is said once, and the policy in use remains.  A file is read once it was left alone from one
    look to the next: the beginning of one that is still being written may be a policy, and one without its denials.

    @param rules: those that were read before.
    @param files: gives the files to look at, which may be others after each reading.
    @param reload: reads them and calls L{used}; its Deferred fails with L{ConfigError} when one cannot be used.
    @ivar state: what became of that.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rules: RuleSet,
        files: Callable[[], Iterable[Path]],
        reload: Callable[[], Deferred[None]],
    ) -> None:
        self.state = PolicyReloadStats(len(rules.rules))
        self._files = files
        self._reload = reload
        # Nothing is known of the files that were read before: the first look reads them again, without a word.
        self._seen: dict[Path, _State] | None = None
        self._latest: dict[Path, _State] | None = None
        self._quiet = False
        self._complaint = ""
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> None:
        """Begin to look, unless there is nothing to look at."""
        if not self._looking.running and tuple(self._files()):
            looking = self._looking.start(LOOK_EVERY, now=False)
            looking.addErrback(lambda failure: _log.failure("the policy is watched no more", failure))

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def used(self, rules: RuleSet, *, followed: bool = False) -> None:
        """Take note of rules that are in use from now on.

        @param followed: whether they were read since the files had changed.
        """
        reads = self.state.reads + (not (followed and self._quiet))
        self.state = attrs.evolve(self.state, rules=len(rules.rules), reads=reads, current=True)
        self._complaint = ""

    def _look(self) -> Deferred[None] | None:
        """Look, and have the files read if they changed; the next look waits for that."""
        seen = {path: _state_of(path) for path in self._files()}
        latest, self._latest = self._latest, seen
        if self._seen == seen or latest != seen:
            return None
        self._quiet = quiet = self._seen is None and not self._complaint

        def read(_: None) -> None:
            # Of files that are read for the first time the state before is not known.
            self._seen = seen if seen.keys() == set(self._files()) else None
            if not quiet:
                _log.info("the policy was read anew, since a file of it has changed")

        return self._reload().addCallbacks(read, self._refused)

    def _refused(self, failure: Failure) -> Failure | None:
        if isinstance(failure.value, CancelledError):
            # The program is being stopped.
            return None
        if not isinstance(failure.value, ConfigError):
            return failure
        complaint = str(failure.value)
        # Files are replaced one after the other: it may be whole a moment later, so the next look reads again.
        self._seen = None
        if complaint != self._complaint:
            self._complaint = complaint
            self.state = attrs.evolve(self.state, failures=self.state.failures + 1, current=False)
            _log.error("the policy remains the one that was read before: {error}", error=complaint)
        return None


def _state_of(path: Path) -> _State:
    """What of a file changes when it is replaced; C{None} when it cannot be seen."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
