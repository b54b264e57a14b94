"""A reactor in memory that starts processes, with channels to them; a test sends the messages of a worker."""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.python.failure import Failure

from egress.workers.ipc import Channel, WorkerSpec
from tests.threads import ThreadlessReactor


def frame(**message: Any) -> bytes:
    """Encode a message as a frame."""
    content = json.dumps(message).encode()
    return struct.pack("!I", len(content)) + content


def tell(word: str, text: str = "") -> bytes:
    """Encode a notification."""
    return frame(notification=word, text=text)


def frames(data: bytes) -> list[Any]:
    """Decode the frames of a channel."""
    found = []
    while data:
        (length,) = struct.unpack("!I", data[:4])
        found.append(json.loads(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def take_frames(transport: StringTransport) -> list[Any]:
    """Return and clear the messages that were written to a transport."""
    found = frames(transport.value())
    transport.clear()
    return found


class FakeLine:
    """One end of a socket pair.

    @ivar incoming: the data that the other end sent; a socket that is not open reaches its end after that.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.incoming = b""
        self.open = True
        self.sent = b""
        self.closed = False
        self.timeouts: list[float | None] = []
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self.number

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def sendall(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent += data

    def recv(self, size: int) -> bytes:
        if self.error is not None:
            raise self.error
        if not self.incoming and self.open:
            raise TimeoutError
        # A stream may deliver one byte at a time.
        piece, self.incoming = self.incoming[:1], self.incoming[1:]
        return piece

    def close(self) -> None:
        self.closed = True


class FakePipe:
    """The standard error of a process, before the reactor reads it."""

    def __init__(self, process: FakeProcess) -> None:
        self._process = process
        self.content = [b""]

    def doRead(self) -> None:
        if self.content:
            self._process.protocol.childDataReceived(2, self.content.pop(0))


class FakeProcess:
    """A process that a test ends."""

    def __init__(self, pid: int, protocol: Any, arguments: list[str], options: dict[str, Any]) -> None:
        self.pid = pid
        self.protocol = protocol
        self.arguments = arguments
        self.options = options
        self.signals: list[str] = []
        self.ended = False
        self.pipes = {2: FakePipe(self)}

    def closeStdin(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def end(self, status: int | None = 0, signal: int | None = None) -> None:
        """End the process."""
        self.ended = True
        error = ProcessDone(0) if status == 0 else ProcessTerminated(status, signal)
        self.protocol.processEnded(Failure(error))


class WorkerReactor(ThreadlessReactor):
    """A reactor that starts processes.

    @ivar processes: all started processes.
    @ivar transports: the transports of the adopted channels.
    @ivar listening: the TCP ports that are open.
    @ivar answers: sets the messages of each new worker, before its parent reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.transports: list[StringTransportWithDisconnection] = []
        self.listening: list[int] = []
        self.pairs: list[tuple[FakeLine, FakeLine]] = []
        self.answers: Callable[[FakeLine], None] = lambda line: None
        self.error: OSError | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        opened: Any = super().listenTCP(port, factory, backlog, interface)
        self.listening.append(port)
        opened.stopListening = lambda: self.listening.remove(port)
        return opened

    def socketpair(self) -> tuple[FakeLine, FakeLine]:
        pair = FakeLine(100 + 2 * len(self.pairs)), FakeLine(101 + 2 * len(self.pairs))
        self.pairs.append(pair)
        self.answers(pair[0])
        return pair

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **options: Any) -> FakeProcess:
        if self.error is not None:
            raise self.error
        process = FakeProcess(1000 + len(self.processes), protocol, args, options)
        self.processes.append(process)
        return process

    def adoptStreamConnection(self, number: int, family: int, factory: Any) -> None:
        assert family == socket.AF_UNIX
        transport = StringTransportWithDisconnection()
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        self.transports.append(transport)

    # -- the latest worker

    @property
    def process(self) -> FakeProcess:
        return self.processes[-1]

    def spec(self, index: int = -1) -> WorkerSpec:
        """Return the specification with which a worker was started."""
        orders: WorkerSpec = pickle.loads(self.pairs[index][0].sent[4:])
        return orders

    def channel(self, index: int = -1) -> Channel:
        """Return the parent's end of a channel."""
        channel: Any = self.transports[index].protocol
        assert isinstance(channel, Channel)
        return channel

    def say(self, data: bytes, index: int = -1) -> None:
        """Send data as a worker."""
        self.channel(index).dataReceived(data)

    def heard(self, index: int = -1) -> list[Any]:
        """Return and clear the messages that a worker received."""
        return take_frames(self.transports[index])

    def die(self, index: int = -1, status: int | None = None, signal: int | None = 9) -> None:
        """End a worker: first its channel closes, then the process ends."""
        self.channel(index).connectionLost(Failure(ConnectionDone()))
        self.processes[index].end(status, signal)
