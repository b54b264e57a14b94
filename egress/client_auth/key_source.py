"""The sources of an issuer's keys: a file, which is read again after it changes, or a download, which is cached."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.client_auth.jwt_keys import MAX_BYTES, InvalidKeys, KeySet
from egress.model.errors import ClientAuthUnavailable, EgressError

_log = Logger()

REFRESH_SECONDS: Final = 300.0
"""The age after which keys are downloaded again, while the previous keys remain in use."""

MAX_AGE_SECONDS: Final = 3600.0
"""The age up to which keys are used if they cannot be downloaded again."""

UNKNOWN_SECONDS: Final = 30.0
"""The least time between two downloads for tokens with unknown keys."""

RETRY_SECONDS: Final = 5.0
"""The least time between two downloads if there are no keys to use."""

FETCH_SECONDS: Final = 8.0
"""The timeout of a download, less than the timeout of a credential check."""

_LOOK_EVERY: Final = 1.0
_AT_ONCE: Final = 16

FetchKeys = Callable[[], Deferred[bytes]]
"""Downloads a key set once.  The Deferred may be cancelled; it fails with an L{EgressError} that says why."""


class KeySource(Protocol):
    """Provides the keys of an issuer."""

    def current(self) -> KeySet | None:
        """Return the keys; C{None} if there are none that may be used."""

    def refresh(self) -> Deferred[None] | None:
        """Get newer keys, because there are none, or because a token names an unknown one.

        @return: fires when L{current} has the result; C{None} if it is too soon.  It may be cancelled.
        """

    def unavailable(self) -> ClientAuthUnavailable:
        """Return the error of a client while there are no keys."""


_Stamp = tuple[int, ...]


def _read(path: Path, algorithms: tuple[str, ...]) -> tuple[KeySet, _Stamp]:
    """Read a file with a key set.

    @raise InvalidKeys: if the file cannot be used.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidKeys(f"cannot be read: {error.strerror}") from error
    return KeySet.parse(content, algorithms), _stamp(state)


def _stamp(state: os.stat_result) -> _Stamp:
    return (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)


class FileKeys:
    """The keys in a file.  If it cannot be used after a change, the previous keys remain in use.

    @param path: the file.
    @param algorithms: the allowed algorithms.
    @param clock: limits the checks for a change.
    @raise InvalidKeys: if the file cannot be used.
    """

    def __init__(self, path: Path, algorithms: tuple[str, ...], clock: IReactorTime) -> None:
        self._path = path
        self._algorithms = algorithms
        self._clock = clock
        self._keys, self._stamp = _read(path, algorithms)
        self._last_check = clock.seconds()

    def current(self) -> KeySet | None:
        """See L{KeySource.current}."""
        now = self._clock.seconds()
        if now - self._last_check >= _LOOK_EVERY:
            self._last_check = now
            self._reload_if_changed()
        return self._keys

    def _reload_if_changed(self) -> None:
        try:
            stamp = _stamp(os.stat(self._path))
        except OSError:
            stamp = ()
        if stamp == self._stamp:
            return
        # The stamp is stored even if the file cannot be used, so that the error is logged once.
        self._stamp = stamp
        try:
            self._keys, self._stamp = _read(self._path, self._algorithms)
        except InvalidKeys as error:
            _log.error(
                "reload of the keys in {path} failed, keeping the previous keys: {reason}",
                path=str(self._path),
                reason=error.reason,
            )
        else:
            _log.info("{path}: reloaded, {number} keys", path=str(self._path), number=len(self._keys))

    def refresh(self) -> Deferred[None] | None:
        """See L{KeySource.refresh}.  A change of the file is noticed without it."""
        return None

    def unavailable(self) -> ClientAuthUnavailable:
        """See L{KeySource.unavailable}.  There are always keys, so this is not used."""
        return ClientAuthUnavailable("the keys of the issuer of tokens are not known")


class IssuerKeys:
    """The keys that an issuer publishes.

    Downloads happen on demand, one at a time: an idle proxy makes none.  If they fail, the last keys remain in use for
    a limited time.

    @param fetch: downloads the key set.
    @param algorithms: the allowed algorithms.
    @param clock: measures the age of the keys.
    @param issuer: the issuer, for the log.
    """

    def __init__(self, fetch: FetchKeys, algorithms: tuple[str, ...], clock: IReactorTime, issuer: str) -> None:
        self._fetch = fetch
        self._algorithms = algorithms
        self._clock = clock
        self._issuer = issuer
        self._keys: KeySet | None = None
        self._fetched = 0.0
        self._last_attempt: float | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: deque[Deferred[None]] = deque()
        self._ready: deque[Deferred[None]] = deque()
        self._fault: str | None = None
        self._closed = False

    def current(self) -> KeySet | None:
        """See L{KeySource.current}."""
        if self._keys is None:
            return None
        age = self._clock.seconds() - self._fetched
        if age >= REFRESH_SECONDS and self._is_due(UNKNOWN_SECONDS):
            self._begin()
        # A download can end immediately, so the age is read again.
        return self._keys if self._clock.seconds() - self._fetched < MAX_AGE_SECONDS else None

    def refresh(self) -> Deferred[None] | None:
        """See L{KeySource.refresh}."""
        if self._fetching is None and not self._is_due(RETRY_SECONDS if self.current() is None else UNKNOWN_SECONDS):
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
        if self._fetching is None:
            self._begin()
        return waiting

    def unavailable(self) -> ClientAuthUnavailable:
        """See L{KeySource.unavailable}."""
        why = self._fault or "they were not downloaded yet"
        return ClientAuthUnavailable(f"the keys of the issuer of tokens are not known: {why}")

    def check_ready(self) -> Deferred[None]:
        """Check whether tokens can be verified.

        @return: fires with C{None}, or fails with L{ClientAuthUnavailable}.
        """
        if self.current() is not None:
            return succeed(None)
        waiting = self.refresh()
        return fail(self.unavailable()) if waiting is None else waiting.addCallback(lambda _: self._check())

    def _check(self) -> None:
        if self.current() is None:
            raise self.unavailable()

    def close(self) -> None:
        """Cancel a download, and begin none from now on."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.cancel()

    def _is_due(self, interval: float) -> bool:
        last, now = self._last_attempt, self._clock.seconds()
        return self._fetching is None and not self._closed and (last is None or now - last >= interval)

    def _begin(self) -> None:
        self._last_attempt = self._clock.seconds()
        fetched = maybeDeferred(self._fetch).addTimeout(FETCH_SECONDS, self._clock)
        fetching = self._fetching = fetched.addCallback(self._received).addErrback(self._failed)
        fetching.addCallback(self._done)

    def _received(self, content: bytes) -> None:
        keys = KeySet.parse(content, self._algorithms)
        if self._keys is None or keys.digest != self._keys.digest:
            self._keys = keys
            _log.info("{number} keys of the issuer {issuer} are in use", number=len(keys), issuer=self._issuer)
        self._fetched = self._clock.seconds()
        self._fault = None

    def _failed(self, failure: Failure) -> None:
        if self._closed:
            return
        fault = _explain(failure)
        if fault != self._fault:
            self._fault = fault
            _log.error(
                "download of the keys of the issuer {issuer} failed: {reason}", issuer=self._issuer, reason=fault
            )

    def _done(self, _: object) -> None:
        self._fetching = None
        self._ready.extend(self._waiting)
        self._waiting.clear()
        self._release()

    def _release(self) -> None:
        """Let those continue who waited for the download: a few in each turn, because each verifies a token."""
        for _ in range(min(_AT_ONCE, len(self._ready))):
            # A callback can cancel others.
            if self._ready:
                self._ready.popleft().callback(None)
        if self._ready:
            self._clock.callLater(0, self._release)

    def _forget(self, waiting: Deferred[None]) -> None:
        for queue in (self._waiting, self._ready):
            if waiting in queue:
                queue.remove(waiting)


class KeyDownloads:
    """The downloads of all issuers of a proxy.

    @param sources: the keys of each issuer.
    """

    def __init__(self, sources: Iterable[IssuerKeys]) -> None:
        self._sources = tuple(sources)

    @property
    def checks(self) -> dict[str, Callable[[], Deferred[None]]]:
        """The readiness check of client authentication, if it needs downloads."""
        return {"client-auth": self.check_ready} if self._sources else {}

    def check_ready(self) -> Deferred[None]:
        """Check whether the tokens of all issuers can be verified.

        @return: fires with C{None}, or fails with L{ClientAuthUnavailable}.
        """
        ready = gatherResults([each.check_ready() for each in self._sources], consumeErrors=True)
        return ready.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)

    def start(self) -> None:
        """Download the keys before the first client needs them.  A failure is in the log."""
        self.check_ready().addErrback(lambda _: None)

    def stop(self) -> None:
        """Cancel all downloads, and begin none from now on."""
        for each in self._sources:
            each.close()


def _explain(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, TookTooLong):
        return f"no response within {FETCH_SECONDS:g} s"
    if isinstance(error, (InvalidKeys, EgressError)):
        return error.reason
    _log.failure("a download of keys failed", failure)
    return "an internal error; the operator's log has the details"
