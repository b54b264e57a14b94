"""The checks of a policy URL at an interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.distribution.client import Download, PolicyClient
from egress.authz.distribution.store import PolicyIntake, RejectedPolicy
from egress.config.token_files import read_token
from egress.model.converters import BadValue

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from egress.runtime.threads import Offload

_log = Logger()

# The delay after the first failure in seconds, doubled after each failure.
FIRST_RETRY: Final = 1.0
# After many failures, the delay is at most this, or the interval if that is longer.
LAST_RETRY: Final = 300.0
# Which part of the interval is random, so that several proxies do not check at the same time.
JITTER: Final = 0.2

UPDATED: Final = "updated"
UNCHANGED: Final = "unchanged"
FAILED: Final = "failed"


class PolicyPoller:
    """Checks a policy URL, and stores each version that is valid.

    After a failure, the next check is earlier than the interval at first, and later after many failures.

    @param clock: schedules the checks.
    @param name: the name of the policy in the log.
    @param client: downloads the policy.
    @param intake: verifies and stores it.
    @param in_thread: runs blocking calls in a thread.
    @param interval: the seconds between two checks.
    @param token_file: a file with the bearer token for the server.
    @param jitter: returns a number from 0 to 1.
    @param checked: is called after each check.
    @ivar results: the number of checks by result.
    """

    def __init__(
        self,
        clock: IReactorTime,
        name: str,
        client: PolicyClient,
        intake: PolicyIntake,
        in_thread: Offload,
        *,
        interval: float,
        token_file: Path | None,
        jitter: Callable[[], float],
        checked: Callable[[], object],
    ) -> None:
        self.results = Counter(dict.fromkeys((UPDATED, UNCHANGED, FAILED), 0))
        self._clock = clock
        self._name = name
        self._client = client
        self._intake = intake
        self._in_thread = in_thread
        self._interval = interval
        self._token_file = token_file
        self._jitter = jitter
        self._checked = checked
        self._failures = 0
        self._fault = ""
        self._timer: IDelayedCall | None = None
        self._check: Deferred[Any] | None = None
        self._stopped = True

    def start(self) -> None:
        """Check now, and then at the interval."""
        if self._stopped:
            self._stopped = False
            self._begin()

    def stop(self) -> None:
        """Stop checking; a check in progress has no effect."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        check, self._check = self._check, None
        if check is not None:
            check.cancel()
        self._client.close()

    def _begin(self) -> None:
        self._timer = None
        check: Deferred[Any] = self._in_thread(self._prepare)
        check.addCallback(self._fetch).addCallback(self._store)
        # If there is a result already, the next check is scheduled before this call returns.
        self._check = check
        check.addCallbacks(self._succeeded, self._failed)
        check.addErrback(lambda failure: _log.failure("{name}: a check failed", failure, name=self._name))

    def _prepare(self) -> tuple[str | None, str | None]:
        """Read the entity tag and the token, in a thread."""
        token = None if self._token_file is None else read_token(self._token_file)
        return self._intake.etag(), token

    def _fetch(self, prepared: tuple[str | None, str | None]) -> Deferred[Download | None]:
        etag, token = prepared
        return self._client.fetch(etag, token)

    def _store(self, download: Download | None) -> Deferred[str]:
        def store() -> str:
            if download is None:
                self._intake.unchanged()
                return UNCHANGED
            return UPDATED if self._intake.accept(download.content, download.etag) else UNCHANGED

        return self._in_thread(store)

    def _succeeded(self, result: str) -> None:
        if self._stopped:
            return
        if result == UPDATED:
            _log.info("{name}: a new version is downloaded", name=self._name)
        elif self._fault:
            _log.info("{name}: checks succeed again", name=self._name)
        self._failures, self._fault = 0, ""
        self._done(result, self._interval)

    def _failed(self, failure: Failure) -> Deferred[None] | None:
        if self._stopped:
            return None
        fault = describe_fault(failure, self._client, self._token_file)
        if fault != self._fault:
            self._fault = fault
            _log.error("{name}: a check failed, keeping the last good version: {fault}", name=self._name, fault=fault)
        self._failures += 1
        retry = FIRST_RETRY * 2.0 ** min(self._failures - 1, 16)
        delay = min(retry, max(self._interval, LAST_RETRY))
        recorded = self._in_thread(lambda: self._intake.failed(fault))
        # The log has the fault already.
        recorded.addErrback(lambda _: None)
        return recorded.addCallback(lambda _: self._done(FAILED, delay))

    def _done(self, result: str, delay: float) -> None:
        self._check = None
        if self._stopped:
            return
        self.results[result] += 1
        self._checked()
        self._timer = self._clock.callLater(delay * (1 - JITTER * self._jitter()), self._begin)


def describe_fault(failure: Failure, client: PolicyClient, token_file: Path | None) -> str:
    """Describe why a check failed.

    @param failure: the failure of the check.
    @param client: the client of the policy.
    @param token_file: the file with the token for its server.
    """
    error = failure.value
    if isinstance(error, BadValue):
        return f"{token_file}: {error.remedy}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, RejectedPolicy):
        return f"the policy is rejected: {error}"
    if isinstance(error, ValueError):
        return f"the policy is not valid: {error}"
    return client.describe(failure)
