"""One case of the suite, and the peer that plays it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator
from typing import Final, Protocol

import attrs
from hpack import Decoder

from tests.http2_conformance import frames as wire

AUTHORITY: Final = b"origin.test"


class Target(Protocol):
    """The server under test."""

    @property
    def closed(self) -> bool:
        """Whether it has closed the connection, or has begun to."""

    @property
    def forwarded(self) -> list[str]:
        """The requests that reached the origin: method and path."""

    def receive(self, data: bytes) -> None:
        """Process data from the client."""

    def sent(self) -> bytes:
        """Return the data that it sent since the last call."""

    def hold(self) -> None:
        """Let no origin take the content of requests."""


@attrs.frozen
class Frame:
    """A frame that the server sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """A client that sends raw frames and checks what the server answers.

    @ivar target: the server under test.
    @ivar seen: the frames that the server sent.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.seen: list[Frame] = []
        self._buffer = b""
        self._decoder = Decoder()
        self._heads: dict[int, list[dict[bytes, bytes]]] = {}
        self._pings = 0

    # -- sending

    def start(self, *settings: tuple[int, int]) -> None:
        """Send the preface and the settings, and acknowledge those of the server."""
        self.send(wire.PREFACE, wire.settings(*settings), wire.frame(wire.SETTINGS, wire.ACK))

    def send(self, *data: bytes) -> None:
        """Send bytes, and read what the server sends."""
        self.target.receive(b"".join(data))
        self._read()

    def fields(self, method: bytes = b"GET", path: bytes = b"/", *more: wire.Field) -> list[wire.Field]:
        """Return the header list of a request."""
        named = [(b":method", method), (b":scheme", b"https"), (b":path", path), (b":authority", AUTHORITY)]
        return [*named, *more]

    def block(self, method: bytes = b"GET", path: bytes = b"/", *more: wire.Field) -> bytes:
        """Return the header block of a request."""
        return wire.block(self.fields(method, path, *more))

    def request(self, stream: int, method: bytes = b"GET", path: bytes = b"/", *more: wire.Field) -> None:
        """Send a whole request."""
        self.send(wire.headers(stream, self.block(method, path, *more)))

    def open(self, stream: int, method: bytes = b"POST", path: bytes = b"/", *more: wire.Field) -> None:
        """Send the head of a request whose content follows."""
        self.send(wire.headers(stream, self.block(method, path, *more), wire.END_HEADERS))

    # -- reading

    def _read(self) -> None:
        self._buffer += self.target.sent()
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags, stream = struct.unpack("!BBI", self._buffer[3:9])
            found = Frame(kind, flags, stream & 0x7FFFFFFF, self._buffer[9 : 9 + length])
            self._buffer = self._buffer[9 + length :]
            self.seen.append(found)
            if kind == wire.HEADERS:
                decoded = self._decoder.decode(found.payload, raw=True)
                self._heads.setdefault(found.stream, []).append({bytes(name): bytes(value) for name, value in decoded})

    def frames(self, kind: int, stream: int | None = None) -> Iterator[Frame]:
        """Yield the frames of a kind that the server sent."""
        return (one for one in self.seen if one.kind == kind and stream in (None, one.stream))

    def status(self, stream: int) -> int | None:
        """Return the final status of the response on a stream."""
        found = [int(head[b":status"]) for head in self._heads.get(stream, ()) if b":status" in head]
        return next((status for status in found if status >= 200), None)

    def ended(self, stream: int) -> bool:
        """Whether the response on a stream is complete."""
        ending = (one for one in self.seen if one.kind in (wire.DATA, wire.HEADERS) and one.stream == stream)
        return any(one.flags & wire.END_STREAM for one in ending)

    def goaway(self) -> int | None:
        """Return the code of the last GOAWAY."""
        codes = [struct.unpack("!II", one.payload[:8])[1] for one in self.frames(wire.GOAWAY)]
        return codes[-1] if codes else None

    def reset(self, stream: int) -> int | None:
        """Return the code of the RST_STREAM of a stream."""
        codes = [struct.unpack("!I", one.payload)[0] for one in self.frames(wire.RST_STREAM, stream)]
        return codes[0] if codes else None

    # -- checks

    def expect_connection_error(self, *codes: int, goaway: bool = True) -> None:
        """Check that the server has closed the connection for one of some reasons.

        @param goaway: whether it must have sent a GOAWAY (RFC 9113 section 3.4 does without one).
        """
        found = self.goaway()
        if found not in codes and (goaway or found is not None):
            raise AssertionError(f"a GOAWAY with one of {codes}, not {found}; frames: {self.seen}")
        if not self.target.closed:
            raise AssertionError("the connection is still open")

    def expect_stream_error(self, stream: int, *codes: int, or_status: Collection[int] = ()) -> None:
        """Check that the server has reset a stream, or, as a stricter server may, the connection.

        @param or_status: statuses of an error response that are as good.
        """
        if self.goaway() in codes and self.target.closed:
            return
        if self.reset(stream) in codes or self.status(stream) in or_status:
            self.expect_alive()
            return
        raise AssertionError(f"a reset with one of {codes}, not {self.reset(stream)}; frames: {self.seen}")

    def expect_response(self, stream: int, status: int = 200) -> None:
        """Check that a stream has a whole response."""
        if self.status(stream) != status or not self.ended(stream):
            raise AssertionError(f"status {status} on stream {stream}, not {self.status(stream)}; frames: {self.seen}")

    def expect_alive(self) -> None:
        """Check that the connection still works: a PING is acknowledged."""
        self._pings += 1
        data = struct.pack("!Q", self._pings)
        self.send(wire.frame(wire.PING, payload=data))
        if not any(one.flags & wire.ACK and one.payload == data for one in self.frames(wire.PING)):
            raise AssertionError(f"no answer to a PING; closed: {self.target.closed}; frames: {self.seen}")

    def expect_nothing_forwarded(self) -> None:
        """Check that no request reached the origin."""
        if self.target.forwarded:
            raise AssertionError(f"the origin received {self.target.forwarded}")


@attrs.frozen
class Case:
    """One case.

    @ivar section: the section of the RFC, after its number for hpack: C{9113/5.1} or C{7541/4.2}.
    @ivar title: what the client does.
    @ivar play: plays the case.
    @ivar forwards: whether a request may reach the origin.
    """

    section: str
    title: str
    play: Callable[[Peer], None]
    forwards: bool = True

    @property
    def name(self) -> str:
        """The name of the case as an identifier."""
        return re.sub(r"[^a-z0-9]+", "_", f"{self.section} {self.title}".lower()).strip("_")


class Cases:
    """Collects cases."""

    def __init__(self) -> None:
        self.all: list[Case] = []

    def __call__(
        self, section: str, title: str, *, forwards: bool = True
    ) -> Callable[[Callable[[Peer], None]], Callable[[Peer], None]]:
        """Return a decorator that adds a case; see L{Case}."""

        def add(play: Callable[[Peer], None]) -> Callable[[Peer], None]:
            self.all.append(Case(section, title, play, forwards))
            return play

        return add
