"""The reload of a policy when its files change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.config.model import ConfigError
from egress.model.statistics import PolicyInUse, PolicyReloadStats
from egress.policy.rule import DEFAULT_RULE

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from egress.policy.rules import RuleSet

_log = Logger()

# A check costs a few calls of stat(2).
LOOK_EVERY: Final = 1.0

_State = tuple[int, int, int, int] | None


class PolicyWatch:
    """Reloads a policy when its files change.

    An invalid policy is logged once, and the previous policy stays in use.  A file is read only when it did not change
    between two checks.  While a file is being written, its first part may be a valid policy without its denials.

    @param rules: the rules that were loaded at startup.
    @param files: returns the files to check, which may differ after each reload.
    @param reload: reads the files and calls L{used}; its Deferred fails with L{ConfigError} if one is invalid.
    @param now: returns the seconds since the epoch.
    @ivar state: the result of the reloads.
    @ivar policy: the policy that is in use.
    """

    def __init__(
        self,
        clock: IReactorTime,
        rules: RuleSet,
        files: Callable[[], Iterable[Path]],
        reload: Callable[[], Deferred[None]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.state = PolicyReloadStats(len(rules.rules))
        self.policy = _in_use(rules, now())
        self._now = now
        self._files = files
        self._reload = reload
        # The state of the files that were read at startup is unknown: the first check reads them again, without a log
        # message.
        self._seen: dict[Path, _State] | None = None
        self._latest: dict[Path, _State] | None = None
        self._quiet = False
        self._last_error = ""
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock

    def start(self) -> None:
        """Start to check the files, if there are any."""
        if not self._loop.running and tuple(self._files()):
            running = self._loop.start(LOOK_EVERY, now=False)
            running.addErrback(lambda failure: _log.failure("the policy is no longer checked for changes", failure))

    def stop(self) -> None:
        """Stop checking."""
        if self._loop.running:
            self._loop.stop()

    def used(self, rules: RuleSet, *, followed: bool = False) -> None:
        """Record the rules that are in use from now on.

        @param rules: the rules.
        @param followed: whether they were loaded because a file changed.
        """
        repeated = followed and self._quiet
        reads = self.state.reads + (not repeated)
        self.policy = _in_use(rules, self.policy.loaded if repeated else self._now())
        self.state = attrs.evolve(self.state, rules=len(rules.rules), reads=reads, current=True)
        self._last_error = ""

    def _check(self) -> Deferred[None] | None:
        """Check the files, and reload them if they changed.  The next check waits for the reload."""
        seen = {path: _state_of(path) for path in self._files()}
        previous, self._latest = self._latest, seen
        if self._seen == seen or previous != seen:
            return None
        self._quiet = quiet = self._seen is None and not self._last_error

        def loaded(_: None) -> None:
            # The state of a file before its first read is unknown.
            self._seen = seen if seen.keys() == set(self._files()) else None
            if not quiet:
                _log.info("policy reloaded because a file changed")

        return self._reload().addCallbacks(loaded, self._reload_failed)

    def _reload_failed(self, failure: Failure) -> Failure | None:
        if isinstance(failure.value, CancelledError):
            # The program is stopping.
            return None
        if not isinstance(failure.value, ConfigError):
            return failure
        message = str(failure.value)
        # Files are replaced one after another, so the policy may be valid a moment later: the next check reads it
        # again.
        self._seen = None
        if message != self._last_error:
            self._last_error = message
            self.state = attrs.evolve(self.state, failures=self.state.failures + 1, current=False)
            _log.error("policy reload failed, keeping the previous policy: {error}", error=message)
        return None


def _in_use(rules: RuleSet, loaded: float) -> PolicyInUse:
    verdicts = [(rule.rule_id, rule.verdict.value) for rule in rules.rules]
    return PolicyInUse(rules.digest, loaded, (*verdicts, (DEFAULT_RULE, rules.default.value)))


def _state_of(path: Path) -> _State:
    """Return the attributes of a file that change when it is replaced; C{None} if it cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
