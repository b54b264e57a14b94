"""The CA watch: reloads the CA when its files change, and warns before it expires."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.tls.ca_source import CaSource
from egress.tls.issuer import CaError, CertificateAuthority, time_left

_log = Logger()

# A check costs a few calls of stat(2), so an operator who replaces the CA needs no further command.
LOOK_EVERY: Final = 5.0
REMIND_EVERY: Final = 86400.0

_State = tuple[int, int, int, int]


class CaWatch:
    """Keeps a proxy's CA in sync with its files.

    If the files cannot be used, an error is logged once, and the current CA remains in use.

    @ivar authority: the current CA.
    @ivar trusted: the certificates that clients of this proxy trust; empty until they are known.
    @param changed: called with the new CA after it changes.
    @param reminds: whether to log, at the start and then daily, that the CA expires soon; one of several processes
        should.
    @param wall_clock: returns seconds since the epoch.
    """

    def __init__(
        self,
        clock: IReactorTime,
        source: CaSource,
        authority: CertificateAuthority,
        changed: Callable[[CertificateAuthority], object],
        *,
        reminds: bool = True,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.authority = authority
        self.trusted: tuple[x509.Certificate, ...] = ()
        self._clock = clock
        self._source = source
        self._changed = changed
        self._reminds = reminds
        self._wall_clock = wall_clock
        self._reminded = 0.0
        # The state of the files at the time of the first read is unknown: the first check reads them again.
        self._state: tuple[_State | None, ...] | None = None
        self._last_error = ""
        self._looking = LoopingCall(self._check)
        self._looking.clock = clock

    def start(self) -> None:
        """Start watching the files."""
        if not self._looking.running:
            self._read_trusted()
            self._remind()
            looking = self._looking.start(LOOK_EVERY, now=False)
            looking.addErrback(lambda failure: _log.failure("the CA files are no longer watched", failure))

    def stop(self) -> None:
        """Stop watching the files."""
        if self._looking.running:
            self._looking.stop()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall_clock(), timezone.utc)

    def _check(self) -> None:
        state = tuple(map(_state_of, self._source.paths))
        if state != self._state:
            try:
                authority = self._source.load(self._now())
            except CaError as error:
                self._log_error(error)
            else:
                self._state = state
                self._last_error = ""
                self._read_trusted()
                self._adopt(authority)
        if self._clock.seconds() - self._reminded >= REMIND_EVERY:
            self._remind()

    def _read_trusted(self) -> None:
        # An error is one that the next check of the files logs.
        with suppress(CaError):
            self.trusted = self._source.certificates().trusted(self._now())

    def _log_error(self, error: CaError) -> None:
        # Files are replaced one after the other: the next check may succeed.
        if error.reason != self._last_error:
            self._last_error = error.reason
            _log.error("CA reload failed, keeping the previous CA: {reason}", reason=error.reason)

    def _adopt(self, authority: CertificateAuthority) -> None:
        if (authority.certificate, authority.chain) == (self.authority.certificate, self.authority.chain):
            return
        self.authority = authority
        _log.info("the CA with the SHA-256 {fingerprint} signs now", fingerprint=authority.fingerprint)
        self._changed(authority)
        self._remind()

    def _remind(self) -> None:
        self._reminded = self._clock.seconds()
        now = self._now()
        if self._reminds and self.authority.ends_soon(now):
            _log.warn("the CA expires on {end}: replace it", end=time_left(self.authority.not_after, now))


def _state_of(path: Path) -> _State | None:
    """Return the attributes of a file that change when it is replaced; C{None} if it cannot be inspected."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
