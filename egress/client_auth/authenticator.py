"""Checking what clients send, without holding up others.

Passwords take tens of milliseconds to check, on purpose.  So it is done in threads, a few at a time; addresses take
turns, and what was found to be good is remembered for a while.  A flood of wrong passwords from one address delays the
passwords of that address alone, and nobody who is known already.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections import OrderedDict, deque
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
from egress.model.errors import ClientCheckBusy, ClientUnauthenticated, CredentialsRejected, EgressError
from egress.model.limit_key import limit_key

_log = Logger()

InThread = Callable[[Callable[[], bool]], Deferred[bool]]

# Checks under way: each takes a core, and up to 64 MiB.
AT_ONCE: Final = 2
# Checks that wait, of one address and of all.
QUEUE: Final = 32
QUEUES: Final = 1024
# What is remembered, for how many seconds, of how many.
REMEMBERED_SECONDS: Final = 300.0
REMEMBERED: Final = 4096

# How often one looks whether the file was changed, in seconds, and how large it may be.
_LOOK_EVERY: Final = 1.0
_MAX_BYTES: Final = 4 * 1024 * 1024
# What a client may send: many of them may wait at the same time.
_MAX_PRESENTED: Final = 4096

_Stamp = tuple[int, ...]
_GONE: Final[_Stamp] = ()


def _stamp(state: os.stat_result) -> _Stamp:
    # The time of a change of mode is among them: a file may become readable.
    return (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)


def load_secrets(path: Path) -> tuple[ClientSecrets, _Stamp]:
    """Read a file with secrets.

    @return: the secrets, and what tells this file from a changed one.
    @raise SecretsError: when it cannot be used.
    """
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & stat.S_IWOTH:
                raise SecretsError(f"{path}: everybody can write to it, and so become a client; chmod o-w it")
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
    """One check, for all who wait for the same."""

    key: bytes
    place: str
    credentials: Basic
    waiting: list[Deferred[str]] = attrs.field(factory=list)
    under_way: bool = False


@implementer(IClientAuthenticator)
class ClientAuthenticator:
    """Lets the clients of one file in.

    The file is read again when it was changed.  Where it cannot be used any more, what it was before holds.

    @param in_thread: runs something that takes long in a thread.
    @raise SecretsError: when the file cannot be used.
    """

    def __init__(self, path: Path, clock: IReactorTime, in_thread: InThread) -> None:
        self._path = path
        self._clock = clock
        self._in_thread = in_thread
        self._secrets, self._stamp = load_secrets(path)
        self._looked = clock.seconds()
        # Under a key that nobody else has, so that nothing here is a hash of a password that could be guessed from.
        self._key = os.urandom(32)
        self._good: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._jobs: dict[bytes, _Job] = {}
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._busy: set[str] = set()

    def _digest(self, presented: bytes) -> bytes:
        return hmac.digest(self._key, presented, "sha256")

    # -- the file

    def _follow(self) -> None:
        """Take the file as it is now."""
        now = self._clock.seconds()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        try:
            stamp = _stamp(os.stat(self._path))
            if stamp == self._stamp:
                return
            # Also when it cannot be used, so that this is said once.
            self._stamp = stamp
            secrets, self._stamp = load_secrets(self._path)
        except OSError as error:
            if self._stamp != _GONE:
                self._stamp = _GONE
                self._keep(f"{self._path}: cannot be read: {error.strerror}")
        except SecretsError as error:
            self._keep(error.reason)
        else:
            _log.info("{path}: read again, {number} clients", path=str(self._path), number=len(secrets))
            self._secrets = secrets
            self._good.clear()

    def _keep(self, reason: str) -> None:
        _log.error("the clients remain as they were: {reason}", reason=reason)

    # -- what is known

    def cached_identity(self, presented: bytes) -> str | None:
        """See L{IClientAuthenticator.known}."""
        self._follow()
        found = self._good.get(self._digest(presented))
        return found[0] if found is not None and self._clock.seconds() < found[1] else None

    def _remember(self, key: bytes, name: str) -> str:
        self._good[key] = (name, self._clock.seconds() + REMEMBERED_SECONDS)
        self._good.move_to_end(key)
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
        return name

    # -- finding out

    def check(self, presented: bytes | None, address: str) -> Deferred[str]:
        """See L{IClientAuthenticator.check}."""
        if presented is None:
            return fail(ClientUnauthenticated("this proxy serves known clients alone: send credentials for it"))
        self._follow()
        credentials = parse_credentials(presented) if len(presented) <= _MAX_PRESENTED else None
        if credentials is None:
            return fail(
                ClientUnauthenticated(
                    "the credentials for this proxy cannot be read: send a name and password, or a token"
                )
            )
        key = self._digest(presented)
        name = self._secrets.by_token(credentials)
        if name is not None:
            return succeed(self._remember(key, name))
        if not self._secrets.needs_time(credentials):
            return fail(_rejected())
        assert isinstance(credentials, Basic)
        return self._wait(key, credentials, limit_key(address))

    def _wait(self, key: bytes, credentials: Basic, place: str) -> Deferred[str]:
        job = self._jobs.get(key)
        if job is None:
            queue = self._queues.get(place)
            if queue is not None and len(queue) >= QUEUE:
                return fail(ClientCheckBusy("too many credentials of your address are being checked: try again"))
            if len(self._jobs) >= QUEUES:
                return fail(ClientCheckBusy("too many credentials are being checked: try again"))
            job = self._jobs[key] = _Job(key, place, credentials)
            self._queues.setdefault(place, deque()).append(job)
        waiting: Deferred[str] = Deferred(lambda given_up: self._leave(job, given_up))
        job.waiting.append(waiting)
        self._next()
        return waiting

    def _leave(self, job: _Job, given_up: Deferred[str]) -> None:
        job.waiting.remove(given_up)
        if not job.waiting and not job.under_way:
            del self._jobs[job.key]
            queue = self._queues[job.place]
            queue.remove(job)
            if not queue:
                del self._queues[job.place]

    def _next(self) -> None:
        """Begin as many checks as may be under way: one of each address, which take turns."""
        for place in list(self._queues):
            if len(self._busy) >= AT_ONCE:
                return
            if place in self._busy:
                continue
            queue = self._queues.pop(place)
            job = queue.popleft()
            if queue:
                self._queues[place] = queue
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        secrets = self._secrets
        job.under_way = True
        self._busy.add(job.place)

        def over(found: bool | Failure) -> None:
            self._busy.discard(job.place)
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
            lambda failure: _log.failure("a check of credentials failed", failure)
        )


def _rejected() -> CredentialsRejected:
    return CredentialsRejected("these credentials are those of no client of this proxy")


def _fault(found: bool | Failure) -> EgressError:
    if isinstance(found, Failure):
        _log.failure("credentials could not be checked", found)
        return ClientCheckBusy("the credentials could not be checked; the operator's log has the details")
    return _rejected()
