"""The vault: it reads the values of secrets on demand, and caches each until its refresh."""

from __future__ import annotations

import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.secrets.command import CommandFailed
from egress.authz.secrets.table import Secret, SecretTable, SecretTableError, parse_secret_table
from egress.http.obligations import MAX_VALUE, is_value
from egress.model.authority import Origin
from egress.model.authz_failure import AuthzFailure
from egress.model.errors import AuthorizerUnavailable
from egress.runtime.private_file import ExposedFile, read_secret

_log = Logger()

# Seconds between two checks of a file.
_CHECK_INTERVAL: Final = 1.0
# Seconds after a failure before a command runs again; otherwise each request would start it.
_RETRY_DELAY: Final = 1.0

_MAX_TABLE: Final = 1024 * 1024

RunCommand = Callable[[Sequence[str]], "Deferred[bytes]"]
_Stamp = tuple[int, ...]


class _Unreadable(Exception):
    """There is no value.  The text is the reason, and contains nothing of a value."""


@attrs.define(eq=False, repr=False, kw_only=True)
class _CachedSecret:
    """The state of one secret.

    @ivar value: the last value.
    @ivar until: when to read it again.
    @ivar checked: when its file was checked.
    @ivar stamp: attributes of the file that change with its content.
    @ivar fault: why the command has no value, until C{until}.
    @ivar waiting: the callers that wait for the command, while it runs.
    """

    secret: Secret
    value: bytes | None = None
    until: float = -math.inf
    checked: float = -math.inf
    stamp: _Stamp = ()
    fault: str | None = None
    waiting: list[Deferred[bytes]] | None = None


def load_secret_table(path: Path) -> SecretTable:
    """Load the table of secrets.  It contains no values, but names programs to run.

    @raise SecretTableError: if it cannot be used.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise SecretTableError(f"{path}: other users can write to it, and so run programs; run chmod o-w on it")
            data = file.read(_MAX_TABLE + 1)
    except OSError as error:
        raise SecretTableError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_TABLE:
        raise SecretTableError(f"{path}: is over {_MAX_TABLE} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretTableError(f"{path}: is not UTF-8; save it as UTF-8 text") from None
    return parse_secret_table(text, str(path), path.parent)


class Vault:
    """Returns the values of secrets for origins to which they may be sent.

    @param run: runs a program and returns its output.
    @param environ: the environment; C{None}: that of this process.
    @ivar table: the sources of the secrets.
    """

    def __init__(
        self, table: SecretTable, clock: IReactorTime, run: RunCommand, environ: Mapping[str, str] | None = None
    ) -> None:
        self._clock = clock
        self._run = run
        self._environ = os.environ if environ is None else environ
        self._running: set[Deferred[bytes]] = set()
        self.use(table)

    def use(self, table: SecretTable) -> None:
        """Use another table from now on.  All values are read again."""
        self.table = table
        self._cached = {name: _CachedSecret(secret=secret) for name, secret in table.secrets.items()}

    def value(self, name: str, origin: Origin) -> Deferred[bytes]:
        """Return the value of a secret.

        @param name: the name of the secret.
        @param origin: the origin to which it will be sent.
        @return: fires with the value, or fails with L{AuthorizerUnavailable}.
        """
        cached = self._cached.get(name)
        if cached is None:
            return fail(_unavailable(f"the decision names the secret {name}, which --secrets does not define"))
        refusal = cached.secret.refusal(origin)
        if refusal is not None:
            return fail(_unavailable(refusal))
        try:
            if cached.secret.command:
                return self._from_command(cached)
            return succeed(
                self._from_file(cached) if cached.secret.env is None else self._from_variable(cached.secret.env)
            )
        except _Unreadable as error:
            return fail(_no_value(cached, str(error)))

    def fault_of(self, name: str) -> str | None:
        """Return why a secret of the table cannot be read; C{None} if it can be read, or if its command exists."""
        cached = self._cached[name]
        try:
            if cached.secret.command:
                if shutil.which(cached.secret.command[0]) is None:
                    return f"its command {cached.secret.command[0]} does not exist"
            elif cached.secret.env is None:
                self._from_file(cached)
            else:
                self._from_variable(cached.secret.env)
        except _Unreadable as error:
            return str(error)
        return None

    def _from_variable(self, variable: str) -> bytes:
        value = self._environ.get(variable)
        if value is None:
            raise _Unreadable(f"the variable {variable} is not set")
        return _validated(value.encode("utf-8", "surrogateescape"))

    # -- files

    def _from_file(self, cached: _CachedSecret) -> bytes:
        now = self._clock.seconds()
        if cached.value is not None and now < cached.until and now - cached.checked < _CHECK_INTERVAL:
            return cached.value
        file = cached.secret.file
        assert file is not None
        cached.value, previous = None, cached.value
        try:
            state = os.stat(file)
            # The time of the last change of the mode is included: since then, others may be able to read the file.
            stamp = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)
            if previous is None or stamp != cached.stamp or now >= cached.until:
                if not stat.S_ISREG(state.st_mode):
                    # Opening a FIFO would wait for its writer.
                    raise _Unreadable("its file is not a regular file")
                data = read_secret(file)
                if data is None:
                    raise _Unreadable("its file does not exist")
                previous = _validated(data)
                cached.until = now + cached.secret.refresh
        except OSError as error:
            raise _Unreadable(f"its file cannot be read: {error.strerror}") from error
        except ExposedFile as error:
            raise _Unreadable("users other than its owner can access its file; run chmod 600 on it") from error
        cached.value, cached.stamp, cached.checked = previous, stamp, now
        return previous

    # -- commands

    def _from_command(self, cached: _CachedSecret) -> Deferred[bytes]:
        if self._clock.seconds() < cached.until:
            if cached.value is None:
                raise _Unreadable(cached.fault or "its command failed")
            return succeed(cached.value)
        first = cached.waiting is None
        waiting = cached.waiting = [] if cached.waiting is None else cached.waiting
        # When one caller cancels, the command continues for the others, and its value is cached.
        result: Deferred[bytes] = Deferred(waiting.remove)
        waiting.append(result)
        if first:
            running: Deferred[bytes] = maybeDeferred(self._run, cached.secret.command)
            self._running.add(running)
            running.addCallback(_validated).addCallbacks(
                self._store, self._failed, callbackArgs=(cached,), errbackArgs=(cached,)
            ).addBoth(lambda _: self._running.discard(running))
        return result

    def _store(self, value: bytes, cached: _CachedSecret) -> None:
        cached.value, cached.until = value, self._clock.seconds() + cached.secret.refresh
        waiting, cached.waiting = cached.waiting or [], None
        for each in waiting:
            each.callback(value)

    def _failed(self, failure: Failure, cached: _CachedSecret) -> None:
        error = failure.value
        if isinstance(error, CommandFailed):
            fault = f"its command {error}"
        elif isinstance(error, _Unreadable):
            fault = f"the output of its command is invalid: {error}"
        else:
            fault = "its command failed"
            if not isinstance(error, CancelledError):
                # Do not log the traceback: it may contain the value.
                _log.error(
                    "reading the secret {name} failed: {kind}", name=cached.secret.name, kind=type(error).__name__
                )
        cached.value, cached.fault, cached.until = None, fault, self._clock.seconds() + _RETRY_DELAY
        waiting, cached.waiting = cached.waiting or [], None
        for each in waiting:
            each.errback(_no_value(cached, fault))

    def close(self) -> None:
        """End the commands that run."""
        for running in list(self._running):
            running.cancel()


def unreadable_secrets(
    table: SecretTable, clock: IReactorTime, environ: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield the secrets that cannot be read now, each with the reason.

    No command is run, because it may have effects: it is only looked up.

    @param table: the sources of the secrets.
    @param clock: the reactor.
    @param environ: the environment; C{None}: that of this process.
    """
    vault = Vault(table, clock, run=lambda command: fail(CommandFailed("is not run")), environ=environ)
    for name in table.secrets:
        fault = vault.fault_of(name)
        if fault is not None:
            yield name, fault


def _validated(data: bytes) -> bytes:
    """Return a value that a field can contain, without the one line feed that editors and programs append."""
    value = data.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise _Unreadable("it is empty")
    if len(value) > MAX_VALUE:
        raise _Unreadable(f"it is over {MAX_VALUE} bytes")
    if not is_value(value):
        raise _Unreadable("it contains line feeds or control characters")
    return value


def _unavailable(reason: str) -> AuthorizerUnavailable:
    return AuthorizerUnavailable(reason, AuthzFailure.EXCEPTION)


def _no_value(cached: _CachedSecret, why: str) -> AuthorizerUnavailable:
    return _unavailable(f"the secret {cached.secret.name} is not available: {why}")
