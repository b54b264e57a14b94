"""The values of secrets: read when they are needed, and kept until they are to be read anew."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
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

# How often one looks whether a file was changed, in seconds.
_LOOK_EVERY: Final = 1.0
# How long a command that failed is left alone: each request would start another.
_REST: Final = 1.0

_MAX_TABLE: Final = 1024 * 1024

RunCommand = Callable[[Sequence[str]], "Deferred[bytes]"]
_Stamp = tuple[int, ...]


class _Unreadable(Exception):
    """There is no value; the text says why, and holds nothing of one."""


@attrs.define(eq=False, repr=False)
class _Kept:
    """What is known of one secret.

    @ivar value: the last one.
    @ivar until: when it is to be read anew.
    @ivar looked: when its file was looked at.
    @ivar stamp: what tells that file from a changed one.
    @ivar fault: why the command had no value, until C{until}.
    @ivar waiting: who waits for the command, while it runs.
    """

    secret: Secret
    value: bytes | None = None
    until: float = -math.inf
    looked: float = -math.inf
    stamp: _Stamp = ()
    fault: str | None = None
    waiting: list[Deferred[bytes]] | None = None


def load_secret_table(path: Path) -> SecretTable:
    """Read what says where secrets come from.  There are none in it, but programs that are run.

    @raise SecretTableError: when it cannot be used.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise SecretTableError(f"{path}: everybody can write to it, and so have programs run; chmod o-w it")
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
    """Gives secrets, to whom they may be sent.

    @param run: runs a program for what it prints.
    @param environ: the variables; C{None}: those of this process.
    @ivar table: where the secrets come from.
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
        """Have other secrets from now on; all are read anew."""
        self.table = table
        self._kept = {name: _Kept(secret) for name, secret in table.secrets.items()}

    def value(self, name: str, origin: Origin) -> Deferred[bytes]:
        """Give a secret.

        @param origin: where it will be sent.
        @return: fires with it, or fails with L{AuthorizerUnavailable}.
        """
        kept = self._kept.get(name)
        if kept is None:
            return fail(_unavailable(f"the decision names the secret {name}, which --secrets does not have"))
        refusal = kept.secret.refusal(origin)
        if refusal is not None:
            return fail(_unavailable(refusal))
        try:
            if kept.secret.command:
                return self._printed(kept)
            return succeed(self._in_file(kept) if kept.secret.env is None else self._in_variable(kept.secret.env))
        except _Unreadable as error:
            return fail(_no_value(kept, str(error)))

    def _in_variable(self, variable: str) -> bytes:
        value = self._environ.get(variable)
        if value is None:
            raise _Unreadable(f"the variable {variable} is not set")
        return _checked(value.encode("utf-8", "surrogateescape"))

    # -- files

    def _in_file(self, kept: _Kept) -> bytes:
        now = self._clock.seconds()
        if kept.value is not None and now < kept.until and now - kept.looked < _LOOK_EVERY:
            return kept.value
        file = kept.secret.file
        assert file is not None
        kept.value, before = None, kept.value
        try:
            state = os.stat(file)
            # The time of a change of mode is among them: others may read it from now on.
            stamp = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size)
            if before is None or stamp != kept.stamp or now >= kept.until:
                if not stat.S_ISREG(state.st_mode):
                    # To open a FIFO would be to wait for its writer.
                    raise _Unreadable("its file is none")
                data = read_secret(file)
                if data is None:
                    raise _Unreadable("its file is missing")
                before = _checked(data)
                kept.until = now + kept.secret.refresh
        except OSError as error:
            raise _Unreadable(f"its file cannot be read: {error.strerror}") from error
        except ExposedFile as error:
            raise _Unreadable("others than its owner may use its file") from error
        kept.value, kept.stamp, kept.looked = before, stamp, now
        return before

    # -- commands

    def _printed(self, kept: _Kept) -> Deferred[bytes]:
        if self._clock.seconds() < kept.until:
            if kept.value is None:
                raise _Unreadable(kept.fault or "its command failed")
            return succeed(kept.value)
        first = kept.waiting is None
        waiting = kept.waiting = [] if kept.waiting is None else kept.waiting
        # Whoever goes away leaves the command to the others, and its value to those who come.
        mine: Deferred[bytes] = Deferred(waiting.remove)
        waiting.append(mine)
        if first:
            running: Deferred[bytes] = maybeDeferred(self._run, kept.secret.command)
            self._running.add(running)
            running.addCallback(_checked).addCallbacks(
                self._arrived, self._failed, callbackArgs=(kept,), errbackArgs=(kept,)
            ).addBoth(lambda _: self._running.discard(running))
        return mine

    def _arrived(self, value: bytes, kept: _Kept) -> None:
        kept.value, kept.until = value, self._clock.seconds() + kept.secret.refresh
        waiting, kept.waiting = kept.waiting or [], None
        for each in waiting:
            each.callback(value)

    def _failed(self, failure: Failure, kept: _Kept) -> None:
        error = failure.value
        if isinstance(error, CommandFailed):
            fault = f"its command {error}"
        elif isinstance(error, _Unreadable):
            fault = f"what its command printed: {error}"
        else:
            fault = "its command failed"
            if not isinstance(error, CancelledError):
                # Not the traceback: who knows what is in it.
                _log.error("the secret {name}: {kind}", name=kept.secret.name, kind=type(error).__name__)
        kept.value, kept.fault, kept.until = None, fault, self._clock.seconds() + _REST
        waiting, kept.waiting = kept.waiting or [], None
        for each in waiting:
            each.errback(_no_value(kept, fault))

    def close(self) -> None:
        """End what runs."""
        for running in list(self._running):
            running.cancel()


def _checked(data: bytes) -> bytes:
    """Take what can stand in a field, without the one line feed that editors and programs end with."""
    value = data.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise _Unreadable("it is empty")
    if len(value) > MAX_VALUE:
        raise _Unreadable(f"it is over {MAX_VALUE} bytes")
    if not is_value(value):
        raise _Unreadable("it has line feeds or control characters")
    return value


def _unavailable(reason: str) -> AuthorizerUnavailable:
    return AuthorizerUnavailable(reason, AuthzFailure.FAILURE)


def _no_value(kept: _Kept, why: str) -> AuthorizerUnavailable:
    return _unavailable(f"the secret {kept.secret.name} cannot be had: {why}")
