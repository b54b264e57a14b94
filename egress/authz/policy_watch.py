"""Following a policy in its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.config import ConfigError
from egress.model.policy_reads import PolicyReads

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

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
    @param reload: reads them, calls L{used}, and raises L{ConfigError} when one cannot be used.
    @ivar state: what became of that.
    """

    def __init__(
        self, clock: IReactorTime, rules: RuleSet, files: Callable[[], Iterable[Path]], reload: Callable[[], object]
    ) -> None:
        self.state = PolicyReads(len(rules.rules))
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

    def used(self, rules: RuleSet) -> None:
        """Take note of rules that are in use from now on, whoever had them read."""
        reads = self.state.reads + (not self._quiet)
        self.state = attrs.evolve(self.state, rules=len(rules.rules), reads=reads, current=True)
        self._complaint = ""

    def _look(self) -> None:
        seen = {path: _state_of(path) for path in self._files()}
        latest, self._latest = self._latest, seen
        if self._seen == seen or latest != seen:
            return
        self._quiet = self._seen is None and not self._complaint
        try:
            self._reload()
        except ConfigError as error:
            self._complain(str(error))
            return
        finally:
            quiet, self._quiet = self._quiet, False
        # Of files that are read for the first time the state before is not known.
        self._seen = seen if seen.keys() == set(self._files()) else None
        if not quiet:
            _log.info("the policy was read anew, since a file of it has changed")

    def _complain(self, complaint: str) -> None:
        # Files are replaced one after the other: it may be whole a moment later, so the next look reads again.
        self._seen = None
        if complaint != self._complaint:
            self._complaint = complaint
            self.state = attrs.evolve(self.state, failures=self.state.failures + 1, current=False)
            _log.error("the policy remains the one that was read before: {error}", error=complaint)


def _state_of(path: Path) -> _State:
    """What of a file changes when it is replaced; C{None} when it cannot be seen."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
