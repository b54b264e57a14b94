"""Following the CA in its files, and saying in time that it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.tls.ca_source import CaSource
from egress.tls.issuer import CaError, CertificateAuthority, time_left

_log = Logger()

# A few stat(2): an operator who replaces the CA need not be told how to have it noticed.
LOOK_EVERY: Final = 5.0
REMIND_EVERY: Final = 86400.0

_State = tuple[int, int, int, int]


class CaWatch:
    """Keeps a proxy at the CA that is in its files.

    What cannot be used is said once, and the CA in use remains.

    @ivar authority: the CA in use.
    @param changed: is called when that has become another.
    @param reminds: whether to log, when watching begins and then daily, that the CA ends soon; of several processes one
        should.
    @param wall_clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        clock: IReactorTime,
        source: CaSource,
        authority: CertificateAuthority,
        changed: Callable[[CertificateAuthority], object],
        reminds: bool = True,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.authority = authority
        self._clock = clock
        self._source = source
        self._changed = changed
        self._reminds = reminds
        self._wall_clock = wall_clock
        self._reminded = 0.0
        # Nothing is known of the files from which the authority was read: the first look reads them again.
        self._state: tuple[_State | None, ...] | None = None
        self._complaint = ""
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> None:
        """Begin to look."""
        if not self._looking.running:
            self._remind()
            looking = self._looking.start(LOOK_EVERY, now=False)
            looking.addErrback(lambda failure: _log.failure("the CA is watched no more", failure))

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), timezone.utc)

    def _look(self) -> None:
        state = tuple(map(_state_of, self._source.paths))
        if state != self._state:
            try:
                authority = self._source.load(self._now())
            except CaError as error:
                self._complain(error)
            else:
                self._state = state
                self._complaint = ""
                self._use(authority)
        if self._clock.seconds() - self._reminded >= REMIND_EVERY:
            self._remind()

    def _complain(self, error: CaError) -> None:
        # Files are replaced one after the other: it may be whole a moment later.
        if error.reason != self._complaint:
            self._complaint = error.reason
            _log.error("the CA remains the one that was read before: {reason}", reason=error.reason)

    def _use(self, authority: CertificateAuthority) -> None:
        if (authority.certificate, authority.chain) == (self.authority.certificate, self.authority.chain):
            return
        self.authority = authority
        _log.info("the CA with the SHA-256 {fingerprint} signs from now on", fingerprint=authority.fingerprint)
        self._changed(authority)
        self._remind()

    def _remind(self) -> None:
        self._reminded = self._clock.seconds()
        now = self._now()
        if self._reminds and self.authority.ends_soon(now):
            _log.warn("the CA ends on {end}: replace it", end=time_left(self.authority.not_after, now))


def _state_of(path: Path) -> _State | None:
    """What of a file changes when it is replaced; C{None} when it cannot be seen."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
