"""A socket in memory, for the tests of the writer process."""

from __future__ import annotations

from collections.abc import Callable


class FakeSocket:
    """One end of a socket pair.

    @ivar incoming: the pieces that the other end sent, or errors; after them, the socket ends or blocks.
    @ivar ends: whether the socket ends.
    @ivar capacity: the bytes that the other end accepts in one call; an error in their place is raised.
    @ivar sent: the bytes that were sent.
    @ivar options: the options that were set.
    @ivar answer: is called with the sent bytes after each C{sendall}; it can add to C{incoming}.
    """

    def __init__(self) -> None:
        self.incoming: list[bytes | Exception] = []
        self.ends = True
        self.capacity: int | Exception = 1 << 30
        self.sent = b""
        self.closed = False
        self.timeouts: list[float] = []
        self.options: dict[tuple[int, int], int] = {}
        self.answer: Callable[[FakeSocket], None] = lambda _: None

    def fileno(self) -> int:
        return -1 if self.closed else 1_000_000

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options[level, option] = value

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            if self.ends:
                return b""
            raise BlockingIOError
        piece = self.incoming.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self.incoming.insert(0, piece[size:])
        return piece[:size]

    def recv_into(self, buffer: memoryview) -> int:
        piece = self.recv(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def send(self, data: memoryview) -> int:
        if isinstance(self.capacity, Exception):
            raise self.capacity
        self.sent += bytes(data[: self.capacity])
        return min(len(data), self.capacity)

    def sendall(self, data: bytes) -> None:
        if isinstance(self.capacity, Exception):
            raise self.capacity
        self.sent += data
        self.answer(self)

    def close(self) -> None:
        self.closed = True
