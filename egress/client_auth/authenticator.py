"""The authenticator: checks the credentials of clients without blocking other clients.

A password check takes tens of milliseconds by design.  Checks therefore run in threads, with a concurrency limit;
addresses take turns, and successful checks are cached for a while.  A flood of wrong passwords from one address delays
only the passwords of that address, and no client whose credentials are cached.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.client_auth.htpasswd import ClientSecrets, SecretsError
from egress.http.proxy_authorization import Basic, parse_credentials
from egress.interfaces import IClientAuthenticator
from egress.model.client_queues import ClientQueues
from egress.model.errors import ClientAuthBusy, ClientAuthRequired, ClientCredentialsRejected, EgressError
from egress.model.limit_key import limit_key

_log = Logger()

InThread = Callable[[Callable[[], bool]], Deferred[bool]]

# The maximum number of concurrent checks: each uses a core, and up to 64 MiB.
AT_ONCE: Final = 2
# The maximum number of queued checks of one address, and of addresses with queued checks.
QUEUE: Final = 32
QUEUES: Final = 1024
# The time to live of a cached identity in seconds, and the maximum number of cached identities.
REMEMBERED_SECONDS: Final = 300.0
REMEMBERED: Final = 4096

# The interval of checks for a changed file in seconds, and the maximum size of the file.
_LOOK_EVERY: Final = 1.0
_MAX_BYTES: Final = 4 * 1024 * 1024
# The maximum size of a client's credentials: many of them may be queued at the same time.
_MAX_PRESENTED: Final = 4096

_Stamp = tuple[int, ...]
_GONE: Final[_Stamp] = ()


def _stamp(state: os.stat_result) -> _Stamp:
    # The change time covers a change of the mode: a file may become readable.
    return (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)


def load_secrets(path: Path) -> tuple[ClientSecrets, _Stamp]:
    """Read a file with secrets.

    @return: the secrets, and a stamp that differs after the file is changed.
    @raise SecretsError: if the file cannot be used.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & stat.S_IWOTH:
                raise SecretsError(f"{path}: other users can write to it, and so add clients; run chmod o-w on it")
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SecretsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise SecretsError(f"{path}: is over {_MAX_BYTES} bytes")
    try:
        return ClientSecrets.parse(data.decode("utf-8"), str(path)), _stamp(state)
    except UnicodeDecodeError as error:
        raise SecretsError(f"{path}: is not UTF-8; save it as UTF-8 text") from error


@attrs.define(eq=False)
class _Job:
    """One check, shared by all requests with the same credentials."""

    key: bytes
    address_key: str
    credentials: Basic
    waiting: list[Deferred[str]] = attrs.field(factory=list)
    under_way: bool = False


@implementer(IClientAuthenticator)
class ClientAuthenticator:
    """Authenticates the clients of one file.

    The file is read again after it changes.  If it cannot be used, the previous secrets remain in use.

    @param in_thread: runs a slow function in a thread.
    @raise SecretsError: if the file cannot be used.
    """

    def __init__(self, path: Path, clock: IReactorTime, in_thread: InThread) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._secrets, self._stamp = load_secrets(path)
        self._last_check = clock.seconds()
        # The digests use a random key, so that no digest here allows guessing a password.
        self._key = os.urandom(32)
        self._cached: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._jobs: dict[bytes, _Job] = {}
        self._queues: ClientQueues[str, _Job] = ClientQueues()
        self._busy: set[str] = set()

    def _digest(self, presented: bytes) -> bytes:
        return hmac.digest(self._key, presented, "sha256")

    # -- the file

    def _reload_if_changed(self) -> None:
        """Reload the file if it changed."""
        now = self._clock.seconds()
        if now - self._last_check < _LOOK_EVERY:
            return
        self._last_check = now
        try:
            stamp = _stamp(os.stat(self._path))
            if stamp == self._stamp:
                return
            # The stamp is stored even if the file cannot be used, so that the error is logged once.
            self._stamp = stamp
            secrets, self._stamp = load_secrets(self._path)
        except OSError as error:
            if self._stamp != _GONE:
                self._stamp = _GONE
                self._log_error(f"{self._path}: cannot be read: {error.strerror}")
        except SecretsError as error:
            self._log_error(error.reason)
        else:
            _log.info("{path}: reloaded, {number} clients", path=str(self._path), number=len(secrets))
            self._secrets = secrets
            self._cached.clear()

    def _log_error(self, reason: str) -> None:
        _log.error("client reload failed, keeping the previous clients: {reason}", reason=reason)

    # -- cached identities

    def cached_identity(self, presented: bytes) -> str | None:
        """See L{IClientAuthenticator.cached_identity}."""
        self._reload_if_changed()
        found = self._cached.get(self._digest(presented))
        return found[0] if found is not None and self._clock.seconds() < found[1] else None

    def _remember(self, key: bytes, name: str) -> str:
        self._cached[key] = (name, self._clock.seconds() + REMEMBERED_SECONDS)
        self._cached.move_to_end(key)
        if len(self._cached) > REMEMBERED:
            self._cached.popitem(last=False)
        return name

    # -- checks

    def check(self, presented: bytes | None, address: str) -> Deferred[str]:
        """See L{IClientAuthenticator.check}."""
        if presented is None:
            return fail(ClientAuthRequired("this proxy requires authentication: send credentials"))
        self._reload_if_changed()
        credentials = parse_credentials(presented) if len(presented) <= _MAX_PRESENTED else None
        if credentials is None:
            return fail(ClientAuthRequired("the proxy credentials are malformed: send a name and password, or a token"))
        key = self._digest(presented)
        name = self._secrets.by_token(credentials)
        if name is not None:
            return succeed(self._remember(key, name))
        if not self._secrets.needs_time(credentials):
            return fail(_rejected())
        assert isinstance(credentials, Basic)
        return self._wait(key, credentials, limit_key(address))

    def _wait(self, key: bytes, credentials: Basic, address_key: str) -> Deferred[str]:
        job = self._jobs.get(key)
        if job is None:
            if self._queues.count(address_key) >= QUEUE:
                return fail(
                    ClientAuthBusy("too many authentications from your address are in progress: try again later")
                )
            if len(self._jobs) >= QUEUES:
                return fail(ClientAuthBusy("too many authentications are in progress: try again later"))
            job = self._jobs[key] = _Job(key, address_key, credentials)
            self._queues.add(address_key, job)
        waiting: Deferred[str] = Deferred(lambda cancelled: self._cancel(job, cancelled))
        job.waiting.append(waiting)
        self._next()
        return waiting

    def _cancel(self, job: _Job, cancelled: Deferred[str]) -> None:
        job.waiting.remove(cancelled)
        if not job.waiting and not job.under_way:
            del self._jobs[job.key]
            self._queues.discard(job.address_key, job)

    def _next(self) -> None:
        """Start as many checks as the concurrency limit allows: at most one per address; addresses take turns."""
        for address_key in list(self._queues.clients):
            if len(self._busy) >= AT_ONCE:
                return
            if address_key not in self._busy:
                self._begin(self._queues.take_from(address_key))

    def _begin(self, job: _Job) -> None:
        secrets = self._secrets
        job.under_way = True
        self._busy.add(job.address_key)

        def over(found: bool | Failure) -> None:
            self._busy.discard(job.address_key)
            del self._jobs[job.key]
            if found is True and secrets is self._secrets:
                self._remember(job.key, job.credentials.name)
            for waiting in list(job.waiting):
                if found is True:
                    waiting.callback(job.credentials.name)
                else:
                    waiting.errback(_fault(found))
            self._next()

        self._in_thread(lambda: secrets.by_password(job.credentials)).addBoth(over).addErrback(
            lambda failure: _log.failure("a credential check failed", failure)
        )


def _rejected() -> ClientCredentialsRejected:
    return ClientCredentialsRejected("the proxy credentials do not match any client")


def _fault(found: bool | Failure) -> EgressError:
    if isinstance(found, Failure):
        _log.failure("credentials could not be checked", found)
        return ClientAuthBusy("the credentials could not be checked; the operator's log has the details")
    return _rejected()
