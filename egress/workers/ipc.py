"""The line between a parent and a worker: what is said on it, and how.

It is a socket pair that the worker inherits.  The parent first sends its L{WorkerSpec}, pickled: they hold secrets,
which nobody else can read there.  From then on both send JSON, so that nothing a worker says can do more than be wrong.
 When the line ends, one of the two is gone.
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

# The descriptors of a worker: the control line, and from there on its listening sockets.
CONTROL: Final = 3
FIRST_LISTENER: Final = 4

# What is told: a worker is READY for its sockets, and serves once it is told to.
READY: Final = "ready"
FAILED: Final = "failed"
SERVE: Final = "serve"
DRAIN: Final = "drain"
RELOAD: Final = "reload"

# What is asked.
NUMBERS: Final = "numbers"
CHECKS: Final = "checks"

# What is asked with an argument, of those who are held and of those who may go (L{egress.admin.backend}).
HELD: Final = "held"
ANSWER: Final = "answer"
PERMIT: Final = "permit"
REVOKE: Final = "revoke"
EXPLAIN: Final = "explain"

_LENGTH: Final = struct.Struct("!I")
_MAX_LENGTH: Final = 16 * 1024 * 1024


@attrs.frozen
class WorkerSpec:
    """What a worker is started with.

    @ivar number: which one it is, from 1.
    @ivar reactor: the module that installs the parent's kind of reactor.
    @ivar config: the configuration, the same for all.
    @ivar families: the address family of each of its listening sockets.
    @ivar approval_key: what ids of questions to a person are made with, the same ones by all workers.
    """

    number: int
    reactor: str
    config: ProxyConfig
    families: tuple[int, ...]
    approval_key: bytes = attrs.field(default=b"", repr=False)


class ChannelLost(Exception):
    """The other side is gone."""


def send_frame(line: socket.socket, content: bytes) -> None:
    """Send one frame before there is a reactor."""
    line.sendall(_LENGTH.pack(len(content)) + content)


def receive_frame(line: socket.socket) -> bytes:
    """Wait for one frame before there is a reactor.

    @raise ChannelLost: when the line ends.
    @raise TimeoutError: after the time that the socket was given.
    """
    (length,) = _LENGTH.unpack(_receive(line, _LENGTH.size))
    if length > _MAX_LENGTH:
        raise ChannelLost(f"a frame of {length} bytes")
    return _receive(line, length)


def _receive(line: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        try:
            # Never more than the frame: what follows is for the channel.
            piece = line.recv(size - len(received))
        except ConnectionError as error:
            raise ChannelLost(str(error)) from error
        if not piece:
            raise ChannelLost("it has ended")
        received += piece
    return bytes(received)


def send_spec(line: socket.socket, orders: WorkerSpec) -> None:
    """Give a worker its orders."""
    send_frame(line, pickle.dumps(orders))


def receive_spec(line: socket.socket) -> WorkerSpec:
    """Take the orders of the parent."""
    orders: WorkerSpec = pickle.loads(receive_frame(line))  # noqa: S301 - from the parent, on a line of our own
    return orders


def telling(word: str, text: str = "") -> bytes:
    """Write what is told."""
    return _frame({"tell": word, "text": text})


def _frame(message: object) -> bytes:
    """Write a message.

    @raise ValueError: when it is so long that the other side would take the line for broken.
    """
    frame = json.dumps(message).encode("ascii")
    if len(frame) > _MAX_LENGTH:
        raise ValueError(f"a message of {len(frame)} bytes")
    return frame


class Channel(Int32StringReceiver):
    """One end of a line, in a reactor.

    @param told: is called with what the other side tells: a word and a text.
    @param lost: is called once, when the line has ended.
    @param answers: what answers the questions of the other side, by name; is called with the argument of the question,
        if it has one.
    """

    MAX_LENGTH = _MAX_LENGTH

    def __init__(
        self,
        told: Callable[[str, str], None],
        lost: Callable[[], None],
        answers: Mapping[str, Callable[..., Deferred[Any] | object]] | None = None,
    ) -> None:
        self._told = told
        self._lost = lost
        self._answers = dict(answers or {})
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._open = False

    def connectionMade(self) -> None:
        """Begin (L{twisted.internet.interfaces.IProtocol})."""
        self._open = True

    def send(self, word: str, text: str = "") -> None:
        """Tell the other side."""
        self._send(telling(word, text))

    def ask(self, what: str, argument: Any = None) -> Deferred[Any]:
        """Ask the other side.

        @param argument: what the question is about, fit for JSON; C{None}: it says all itself.
        @return: fires with the answer, and fails when there is none before the line ends.  It may be cancelled.
        """
        if not self._open:
            return fail(ConnectionLost())
        self._number += 1
        number = self._number
        about = {} if argument is None else {"about": argument}
        try:
            frame = _frame({"ask": what, "number": number, **about})
        except ValueError as error:
            return fail(error)
        asked: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._asked[number] = asked
        self._send(frame)
        return asked

    def close(self) -> None:
        """Say no more."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _forget(self, number: int) -> None:
        del self._asked[number]

    def _send(self, frame: bytes) -> None:
        if self._open:
            self.sendString(frame)  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        """Take a frame (L{Int32StringReceiver.stringReceived})."""
        message = json.loads(string)
        if "tell" in message:
            self._told(message["tell"], message["text"])
        elif "ask" in message:
            self._answer(message["ask"], message["number"], [message["about"]] if "about" in message else [])
        else:
            # One that is not waited for any more comes too late.
            asked = self._asked.pop(message["number"], None)
            if asked is not None:
                asked.callback(message["answer"])

    def _answer(self, what: str, number: int, about: Sequence[Any]) -> None:
        answering = maybeDeferred(lambda: self._answers[what](*about))
        answering.addCallback(lambda answer: self._send(_frame({"answer": answer, "number": number})))
        # Whoever asked does not wait for ever.
        answering.addErrback(lambda failure: _log.failure("no answer to {what}", failure, what=what))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End (L{twisted.internet.interfaces.IProtocol})."""
        self._open = False
        asked, self._asked = self._asked, {}
        for deferred in asked.values():
            deferred.errback(ConnectionDone())
        self._lost()


def adopt(reactor: Any, line: socket.socket, channel: Channel) -> None:
    """Hand a line over to a reactor."""
    line.setblocking(False)
    factory = ServerFactory.forProtocol(lambda: channel)
    reactor.adoptStreamConnection(line.fileno(), socket.AF_UNIX, factory)
    # The reactor has a descriptor of its own.
    line.close()
