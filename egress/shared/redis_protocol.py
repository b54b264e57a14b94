"""A connection to Redis or Valkey: commands in, replies out, in order.

The parser is hiredis, which is imported by the first connection: a proxy without shared state does not need it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from egress.shared.script import Argument, Run, Script, accepts_no_digests, is_unknown

INSTALL: Final = "pip install 'egressproxy[redis]'"

MAX_REPLY: Final = 1024 * 1024
"""The maximum size of the replies that are not complete yet, in bytes."""

_MAX_ERROR: Final = 200


class SharedUnavailable(Exception):
    """The engine did not execute a command, or it is unknown whether it did; the text is the reason."""


class CommandRejected(Exception):
    """The engine responded with an error; the text is its message."""


REFUSALS: Final = ("READONLY", "NOREPLICAS", "MASTERDOWN", "MOVED", "CLUSTERDOWN")
"""The first words of errors after which a connection is not used any more.

A process that cannot write does not learn of the revocations of others, and they do not know that it exists.
"""

_CLUSTER: Final = "it is a node of a cluster, which is not supported"
_MEANINGS: Final = {
    "READONLY": "it is a replica, which does not write",
    "NOREPLICAS": "it has too few replicas, and does not write",
    "MASTERDOWN": "it is a replica without its master",
    **dict.fromkeys(("MOVED", "CROSSSLOT", "CLUSTERDOWN"), _CLUSTER),
}

UNUSABLE: Final = (SharedUnavailable, CommandRejected)
"""The engine did not do what it should: the proxy continues without it."""


class _Command:
    """A command without a reply.

    @ivar sent: when it was sent for the first time.
    @ivar run: the run of a script that was sent by its digest; otherwise C{None}.
    """

    __slots__ = ("deferred", "run", "sent")

    def __init__(self, deferred: Deferred[Any], sent: float, run: Run | None) -> None:
        self.deferred = deferred
        self.sent = sent
        self.run = run


class RedisProtocol(Protocol):
    """Sends commands and returns their replies.  Its connection is established, including TLS.

    @param timeout: seconds after which a command without a reply closes the connection.
    @param max_pending: the maximum number of commands without a reply.
    @param closed: is called once when the connection has ended, with the reason.
    """

    def __init__(self, clock: IReactorTime, *, timeout: float, max_pending: int, closed: Callable[[str], None]) -> None:
        hiredis = load_hiredis()
        self._pack: Callable[[Sequence[Argument]], bytes] = hiredis.pack_command
        self._reader: Any = hiredis.Reader()
        self._errors: tuple[type[Exception], type[Exception]] = (hiredis.ReplyError, hiredis.ProtocolError)
        self._clock = clock
        self._timeout = timeout
        self._max_pending = max_pending
        self._closed = closed
        self._pending: deque[_Command] = deque()
        self._unsent: list[bytes] = []
        self._timer: IDelayedCall | None = None
        self._unread = 0
        self._reason: str | None = None
        self._is_connected = False
        # Whether the user of this connection can run scripts by their digests.
        self._has_digests = True

    def __len__(self) -> int:
        """The number of commands without a reply."""
        return len(self._pending)

    def connectionMade(self) -> None:
        """Accept commands (C{IProtocol})."""
        self._is_connected = True

    def call(self, *arguments: Argument) -> Deferred[Any]:
        """Send a command.

        @return: fires with the reply: C{bytes}, C{int}, C{None} or a list of these.  It fails with
            L{SharedUnavailable} or L{CommandRejected}.  If it is cancelled, the reply is ignored.
        """
        return self._call(arguments, None)

    def run(self, script: Script, names: Sequence[bytes], *arguments: Argument) -> Deferred[Any]:
        """Run a script.  If the engine does not know it, its text is sent, within the same timeout.

        It runs at most once, but commands that are sent later can be executed first.

        @param names: the names of the values that it uses.
        @return: see L{call}.
        """
        run = Run(script, names, arguments)
        return self._call(run.by_digest(), run) if self._has_digests else self._call(run.by_text(), None)

    def _call(self, arguments: Sequence[Argument], run: Run | None) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        if not self._is_connected:
            deferred.errback(SharedUnavailable(self._reason or "there is no connection"))
        elif len(self._pending) >= self._max_pending:
            deferred.errback(SharedUnavailable(f"{self._max_pending} commands wait for a reply"))
        else:
            self._send(_Command(deferred, self._clock.seconds(), run), arguments)
        return deferred

    def _send(self, command: _Command, arguments: Sequence[Argument]) -> None:
        self._pending.append(command)
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._check)
        if not self._unsent:
            self._clock.callLater(0, self._flush)
        self._unsent.append(self._pack(arguments))

    def _flush(self) -> None:
        """Write the commands of one turn of the reactor together: a write costs more than a command."""
        unsent, self._unsent = self._unsent, []
        if self._is_connected:
            transport: Any = self.transport
            transport.write(b"".join(unsent))

    def _check(self) -> None:
        """Close the connection if the oldest command has no reply in time."""
        self._timer = None
        if not self._pending:
            return
        # The text of a script is sent later than the commands before it, but counts from the first attempt.
        left = min(command.sent for command in self._pending) + self._timeout - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check)
        else:
            self.abort(f"no reply within {self._timeout:g} s")

    def abort(self, reason: str) -> None:
        """Close the connection, so that all commands without a reply fail."""
        if self._is_connected:
            self._reason = reason
            self._is_connected = False
            transport: Any = self.transport
            transport.abortConnection()
            self._fail(reason)

    def dataReceived(self, data: bytes) -> None:
        """Process replies (C{IProtocol})."""
        if not self._is_connected:
            return
        self._unread += len(data)
        try:
            self._reader.feed(data)
            while self._is_connected and (reply := self._reader.gets()) is not False:
                self._unread = 0
                self._deliver(reply)
        except self._errors[1]:
            self.abort("it does not speak the protocol of Redis")
            return
        if self._unread > MAX_REPLY:
            self.abort("a reply is too large")

    def _deliver(self, reply: Any) -> None:
        if not self._pending:
            self.abort("it sent a reply without a command")
            return
        command = self._pending.popleft()
        deferred = command.deferred
        # A cancelled Deferred was called and ignores the next call.
        if isinstance(reply, self._errors[0]):
            text = str(reply)
            if command.run is not None and self._did_not_run(text):
                self._send(_Command(deferred, command.sent, None), command.run.by_text())
                return
            deferred.errback(CommandRejected(text))
            if text.partition(" ")[0] in REFUSALS:
                self.abort(meaning_of(text))
        else:
            deferred.callback(reply)

    def _did_not_run(self, error: str) -> bool:
        """Return whether the engine did not run a script because it got the digest instead of the text."""
        if accepts_no_digests(error):
            self._has_digests = False
            return True
        return is_unknown(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let all commands fail (C{IProtocol})."""
        if self._is_connected:
            self._is_connected = False
            self._reason = "the connection was lost"
            self._fail(self._reason)
        self._closed(self._reason or "the connection was closed")

    def _fail(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, deque()
        for command in pending:
            command.deferred.errback(SharedUnavailable(reason))


def meaning_of(error: str) -> str:
    """Return what an error of the engine means.  Redis repeats arguments of some commands, but never a password."""
    meaning = _MEANINGS.get(error.partition(" ")[0], "it responded with an error")
    return f"{meaning}: {error[:_MAX_ERROR]}"


def load_hiredis() -> Any:
    """Import hiredis.

    @raise ImportError: if it is not installed.
    """
    import hiredis  # noqa: PLC0415 - an optional dependency

    return hiredis
