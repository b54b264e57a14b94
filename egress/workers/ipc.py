"""The channel between a supervisor and a worker, and its messages.

It is a socket pair that the worker inherits.  The supervisor first sends its L{WorkerSpec}, pickled: it holds secrets,
which no other process can read there.  From then on both send JSON, so that a message of a worker can be wrong but
cannot run code.  When the channel closes, one of the two has ended.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from egress.config.model import ProxyConfig

_log = Logger()

# The descriptors of a worker: the channel to the supervisor, and from the next one on its listening sockets.  The last
# one is the memory with the number of connections of each worker (L{egress.workers.accept_balance}).
CONTROL: Final = 3
FIRST_LISTENER: Final = 4

# Notifications: a worker is READY with its sockets, and accepts connections after SERVE.  After DRAIN, it finishes the
# exchanges; ABORT cuts them.
READY: Final = "ready"
FAILED: Final = "failed"
SERVE: Final = "serve"
DRAIN: Final = "drain"
ABORT: Final = "abort"
RELOAD: Final = "reload"
# Of a worker: an event for the receivers of notifications.
NOTICE: Final = "notice"
# Of a worker: what it learns from other replicas, or tells them (L{egress.admin.backend}).
SHARED: Final = "shared"

# Requests without an argument.
METRICS: Final = "metrics"
CHECKS: Final = "checks"

# Requests of the admin API (L{egress.admin.backend}), most of them with an argument.
PENDING_APPROVALS: Final = "pending-approvals"
RESOLVE_APPROVAL: Final = "resolve-approval"
RESOLVE_ELSEWHERE: Final = "resolve-elsewhere"
ADD_GRANT: Final = "add-grant"
ANNOUNCE_GRANT: Final = "announce-grant"
GRANTS_IN_FORCE: Final = "grants-in-force"
REVOKE: Final = "revoke"
REVOKE_ELSEWHERE: Final = "revoke-elsewhere"
REVOKE_DECISIONS: Final = "revoke-decisions"
CONFIRM_REVOCATION: Final = "confirm-revocation"
EXPLAIN: Final = "explain"
RECORD_CHANGE: Final = "record-change"
POLICIES: Final = "policies"
POLICY_TEXTS: Final = "policy-texts"

_LENGTH: Final = struct.Struct("!I")
_MAX_LENGTH: Final = 16 * 1024 * 1024


@attrs.frozen
class WorkerSpec:
    """The configuration with which a worker starts.

    @ivar number: the number of the worker, from 1.
    @ivar reactor: the module that installs the supervisor's kind of reactor.
    @ivar config: the configuration, the same for all.
    @ivar families: the address family of each of its listening sockets.
    @ivar shared: whether all workers accept from one socket, for each of them.
    @ivar approval_key: the key that all workers derive the ids of pending approvals with.
    @ivar is_replacement: whether an earlier worker with this number has ended.
    """

    number: int
    reactor: str
    config: ProxyConfig
    families: tuple[int, ...]
    shared: tuple[bool, ...] = attrs.field(kw_only=True)
    approval_key: bytes = attrs.field(default=b"", repr=False)
    is_replacement: bool = attrs.field(default=False, kw_only=True)


class ChannelLost(Exception):
    """The other end closed the channel."""


def send_frame(line: socket.socket, content: bytes) -> None:
    """Send one frame before the reactor runs."""
    line.sendall(_LENGTH.pack(len(content)) + content)


def receive_frame(line: socket.socket) -> bytes:
    """Wait for one frame before the reactor runs.

    @raise ChannelLost: when the channel closes.
    @raise TimeoutError: after the timeout of the socket.
    """
    (length,) = _LENGTH.unpack(_receive(line, _LENGTH.size))
    if length > _MAX_LENGTH:
        raise ChannelLost(f"a frame of {length} bytes is too long")
    return _receive(line, length)


def _receive(line: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        try:
            # Never read more than the frame: later bytes are for the Channel.
            piece = line.recv(size - len(received))
        except ConnectionError as error:
            raise ChannelLost(str(error)) from error
        if not piece:
            raise ChannelLost("the channel closed")
        received += piece
    return bytes(received)


def send_spec(line: socket.socket, spec: WorkerSpec) -> None:
    """Send a worker its specification."""
    send_frame(line, pickle.dumps(spec))


def receive_spec(line: socket.socket) -> WorkerSpec:
    """Receive the specification from the supervisor."""
    spec: WorkerSpec = pickle.loads(receive_frame(line))  # noqa: S301 - from the supervisor, over the inherited channel
    return spec


def notification(word: str, text: str = "") -> bytes:
    """Encode a notification."""
    return _frame({"notification": word, "text": text})


def _frame(message: object) -> bytes:
    """Encode a message.

    @raise ValueError: when it is longer than the other end accepts.
    """
    frame = json.dumps(message).encode("ascii")
    if len(frame) > _MAX_LENGTH:
        raise ValueError(f"a message of {len(frame)} bytes is too long")
    return frame


class Channel(Int32StringReceiver):
    """One end of the channel, in a reactor.

    @param notified: is called with each notification of the other end: a word and a text.
    @param lost: is called once, when the channel has closed.
    @param handlers: the handlers for requests of the other end, by name; each is called with the argument of the
        request, if it has one.
    """

    MAX_LENGTH = _MAX_LENGTH

    def __init__(
        self,
        notified: Callable[[str, str], None],
        lost: Callable[[], None],
        handlers: Mapping[str, Callable[..., Deferred[Any] | object]] | None = None,
    ) -> None:
        self._notified = notified
        self._lost = lost
        self._handlers = dict(handlers or {})
        self._pending: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._open = False

    def connectionMade(self) -> None:
        """Open the channel (C{twisted.internet.interfaces.IProtocol})."""
        self._open = True

    def send(self, word: str, text: str = "") -> None:
        """Send a notification to the other end."""
        self._send(notification(word, text))

    def request(self, what: str, argument: Any = None) -> Deferred[Any]:
        """Send a request to the other end.

        @param what: the name of the request.
        @param argument: the argument, in JSON types; C{None}: the request has no argument.
        @return: fires with the response, and fails when the channel closes first.  It may be cancelled.
        """
        if not self._open:
            return fail(ConnectionLost())
        self._number += 1
        number = self._number
        arguments = {} if argument is None else {"argument": argument}
        try:
            frame = _frame({"request": what, "id": number, **arguments})
        except ValueError as error:
            return fail(error)
        response: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._pending[number] = response
        self._send(frame)
        return response

    def close(self) -> None:
        """Close the channel."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _forget(self, number: int) -> None:
        del self._pending[number]

    def _send(self, frame: bytes) -> None:
        if self._open:
            self.sendString(frame)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """Receive a frame (C{Int32StringReceiver.stringReceived})."""
        message = json.loads(string)
        if "notification" in message:
            self._notified(message["notification"], message["text"])
        elif "request" in message:
            self._respond(message["request"], message["id"], [message["argument"]] if "argument" in message else [])
        else:
            # The response to a cancelled request is ignored.
            response = self._pending.pop(message["id"], None)
            if response is not None:
                response.callback(message["response"])

    def _respond(self, what: str, number: int, arguments: Sequence[Any]) -> None:
        response = maybeDeferred(lambda: self._handlers[what](*arguments))
        response.addCallback(lambda result: self._send(_frame({"response": result, "id": number})))
        # The other end does not wait indefinitely.
        response.addErrback(lambda failure: _log.failure("the request {what} failed", failure, what=what))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the channel (C{twisted.internet.interfaces.IProtocol})."""
        self._open = False
        pending, self._pending = self._pending, {}
        for deferred in pending.values():
            deferred.errback(ConnectionDone())
        self._lost()


def adopt(reactor: Any, line: socket.socket, channel: Channel) -> None:
    """Hand a socket over to a reactor."""
    line.setblocking(False)
    factory = ServerFactory.forProtocol(lambda: channel)
    reactor.adoptStreamConnection(line.fileno(), socket.AF_UNIX, factory)
    # The reactor has its own descriptor.
    line.close()
