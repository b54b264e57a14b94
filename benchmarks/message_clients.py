"""The clients of L{benchmarks.messages}: connections through tunnels, with one message or call in progress at a time.

Each client checks every message that it receives.  Its connections take turns: all of them send, then all receive.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from hpack import Decoder

from benchmarks import message_frames as frames
from benchmarks.keep_alive import HOST, Unproven, receive
from benchmarks.message_origin import EVENT

_TIMEOUT: Final = 120.0
_READ: Final = 262144
_KEY: Final = base64.b64encode(b"sixteen bytes....")[:22] + b"=="
_MASK: Final = b"\x5a\xc3\x0f\x96"
# Policies and authorization services deny content with this text.
DENIED: Final = "/denied/"
# What a receiver without a limit must have read of its window before it increases it.
_CREDIT: Final = 1 << 20


class Ends(Protocol):
    """The programs that a client uses.

    @ivar port: the port of the proxy.
    @ivar origin: the port of the origin.
    @ivar plain: the port of the origin without TLS.
    @ivar ca: the CA of the proxy.
    """

    @property
    def port(self) -> int: ...

    @property
    def origin(self) -> int: ...

    @property
    def plain(self) -> int: ...

    @property
    def ca(self) -> Path | None: ...


class Traffic(Protocol):
    """A client with open connections."""

    def send(self, units: int) -> int:
        """Send at least this number of units, and check the responses.

        @return: the number of units.
        @raise Unproven: for a wrong response.
        """

    def is_denied(self) -> bool:
        """Whether a message with forbidden content is denied."""

    def close(self) -> None:
        """Close the connections."""


def text_of(number: int, size: int) -> bytes:
    """Return the text of a message: JSON of a certain size."""
    text = b'{"number": "%07d", "kind": "ping", "text": "' % number
    return text + b"x" * (size - len(text) - 2) + b'"}'


def open_tunnel(ends: Ends, protocol: str) -> ssl.SSLSocket:
    """Open a connection to the origin through the proxy, with this protocol (ALPN)."""
    plain = socket.create_connection(("127.0.0.1", ends.port), _TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.sendall(f"CONNECT {HOST}:{ends.origin} HTTP/1.1\r\nHost: {HOST}:{ends.origin}\r\n\r\n".encode("ascii"))
    status, content = receive(plain.recv)
    if status != 200:
        raise Unproven(f"the response to CONNECT is {status}: {content[:200]!r}")
    context = ssl.create_default_context(cafile=ends.ca)
    context.set_alpn_protocols([protocol])
    inside = context.wrap_socket(plain, server_hostname=HOST)
    if inside.selected_alpn_protocol() != protocol:
        raise Unproven(f"the proxy selected {inside.selected_alpn_protocol()} instead of {protocol}")
    return inside


class _H2:
    """A connection over HTTP/2, which gives the peer unlimited credit."""

    def __init__(self, ends: Ends) -> None:
        self._socket = open_tunnel(ends, "h2")
        self._socket.sendall(frames.h2_beginning(client=True))
        self._data = bytearray()
        self._initial = frames.DEFAULT_WINDOW
        self._windows: dict[int, int] = {0: frames.DEFAULT_WINDOW}
        self._taken: dict[int, int] = {}
        self._ready: list[frames.H2Frame] = []
        self._decoder = Decoder()
        while not any(frame.kind == frames.SETTINGS and not frame.flags & frames.ACK for frame in self._read()):
            pass

    def open(self, stream: int) -> None:
        """Begin to count the window of a stream."""
        self._windows[stream] = self._initial

    def charge(self, stream: int, size: int) -> None:
        """Wait for the credit for content, and use it."""
        while min(self._windows[0], self._windows[stream]) < size:
            self._ready += self._read()
        self._windows[0] -= size
        self._windows[stream] -= size

    def forget(self, stream: int) -> None:
        """Handle the end of a stream."""
        self._windows.pop(stream, None)
        self._taken.pop(stream, None)

    def write(self, data: bytes) -> None:
        """Send frames."""
        self._socket.sendall(data)

    def read(self) -> list[frames.H2Frame]:
        """Return the next frames of streams."""
        ready, self._ready = self._ready, []
        while not ready:
            ready = self._read()
        return [frame for frame in ready if frame.stream]

    def _read(self) -> list[frames.H2Frame]:
        more = self._socket.recv(_READ)
        if not more:
            raise Unproven("the connection over HTTP/2 ends")
        self._data += more
        found = list(frames.take_h2_frames(self._data))
        for frame in found:
            self._process(frame)
        return found

    def _process(self, frame: frames.H2Frame) -> None:
        kind, flags, stream, payload = frame
        if kind == frames.DATA:
            for each in (0, stream):
                self._taken[each] = taken = self._taken.get(each, 0) + len(payload)
                if taken >= _CREDIT:
                    self.write(frames.h2_frame(frames.WINDOW_UPDATE, 0, each, taken.to_bytes(4, "big")))
                    self._taken[each] = 0
        elif kind == frames.WINDOW_UPDATE:
            if stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            for name, value in struct.iter_unpack(">HL", payload):
                if name == frames.INITIAL_WINDOW_SIZE:
                    self._windows = {
                        each: window + (value - self._initial if each else 0) for each, window in self._windows.items()
                    }
                    self._initial = value
            self.write(frames.h2_frame(frames.SETTINGS, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            self.write(frames.h2_frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            raise Unproven(f"the proxy ends the connection over HTTP/2: {payload!r}")

    def fields(self, frame: frames.H2Frame) -> dict[bytes, bytes]:
        """Decode a header block, in the order of the blocks."""
        return dict(self._decoder.decode(frame.payload, raw=True))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class GrpcCalls:
    """Unary calls: each connection has a number of calls in progress."""

    def __init__(self, ends: Ends, connections: int = 4, calls: int = 8) -> None:
        self._ends = ends
        self._connections = [_H2(ends) for _ in range(connections)]
        self._blocks = [frames.FieldBlocks(self._fields()) for _ in range(connections)]
        self._next = [1] * connections
        self._calls = calls
        self._number = 0

    def _fields(self) -> frames.Fields:
        return (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":path", f"/{frames.SERVICE}/{frames.METHOD}".encode("ascii")),
            (b":authority", f"{HOST}:{self._ends.origin}".encode("ascii")),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"grpc-benchmark/1.0"),
            (b"grpc-accept-encoding", b"identity, deflate, gzip"),
        )

    def send(self, units: int) -> int:
        """See L{Traffic.send}."""
        done = 0
        while done < units:
            sent = [self._begin(at) for at in range(len(self._connections))]
            for connection, calls in zip(self._connections, sent, strict=True):
                _finish(connection, calls)
                done += len(calls)
        return done

    def _begin(self, at: int) -> dict[int, bytes]:
        """Begin calls on a connection.

        @return: the content of each call.
        """
        connection, blocks, calls, out = self._connections[at], self._blocks[at], {}, []
        for _ in range(self._calls):
            stream, self._next[at] = self._next[at], self._next[at] + 2
            self._number += 1
            calls[stream] = content = frames.grpc_frame(frames.echo_message(b"ping %07d " % self._number + b"x" * 40))
            connection.open(stream)
            connection.charge(stream, len(content))
            out.append(frames.h2_frame(frames.HEADERS, frames.END_HEADERS, stream, blocks.next()[0]))
            out.append(frames.h2_frame(frames.DATA, frames.END_STREAM, stream, content))
        connection.write(b"".join(out))
        return calls

    def is_denied(self) -> bool:
        """See L{Traffic.is_denied}."""
        connection, blocks = _H2(self._ends), frames.FieldBlocks(self._fields())
        connection.open(1)
        content = frames.grpc_frame(frames.echo_message(DENIED.encode("ascii")))
        head = frames.h2_frame(frames.HEADERS, frames.END_HEADERS, 1, blocks.next()[0])
        connection.write(head + frames.h2_frame(frames.DATA, frames.END_STREAM, 1, content))
        fields: dict[bytes, bytes] = {}
        while b"grpc-status" not in fields:
            for frame in connection.read():
                if frame.kind == frames.HEADERS:
                    fields |= connection.fields(frame)
        connection.close()
        return fields[b"grpc-status"] == b"7"

    def close(self) -> None:
        """See L{Traffic.close}."""
        for one in self._connections:
            one.close()


def _finish(connection: _H2, calls: dict[int, bytes]) -> None:
    """Receive the responses to calls."""
    waiting = dict(calls)
    received = dict.fromkeys(calls, b"")
    while waiting:
        for frame in connection.read():
            if frame.kind == frames.HEADERS:
                fields = connection.fields(frame)
                expected = (b"grpc-status", b"0") if frame.flags & frames.END_STREAM else (b":status", b"200")
                if fields.get(expected[0]) != expected[1]:
                    raise Unproven(f"the response to a call has the fields {fields}")
            elif frame.kind == frames.DATA:
                received[frame.stream] += frame.payload
            elif frame.kind == frames.RST_STREAM:
                raise Unproven(f"the proxy resets a call: {frame.payload!r}")
            if frame.flags & frames.END_STREAM and frame.kind in (frames.HEADERS, frames.DATA):
                if received[frame.stream] != waiting.pop(frame.stream):
                    raise Unproven(f"the response to a call is {received[frame.stream]!r}")
                connection.forget(frame.stream)


class _Pipe(Protocol):
    """The transport of a WebSocket."""

    def write(self, data: bytes) -> None: ...

    def read(self) -> bytes: ...

    def close(self) -> None: ...


class _Http1Pipe:
    def __init__(self, ends: Ends, extensions: bytes) -> None:
        self._socket = open_tunnel(ends, "http/1.1")
        self._socket.sendall(
            b"GET /echo HTTP/1.1\r\nHost: %b:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n"
            % (
                HOST.encode("ascii"),
                ends.origin,
                _KEY,
                b"Sec-WebSocket-Extensions: %b\r\n" % extensions * bool(extensions),
            )
        )
        status, rest = receive(self._socket.recv)
        if status != 101 or rest:
            raise Unproven(f"the response to the handshake of a WebSocket is {status}: {rest!r}")
        self.write = self._socket.sendall
        self.close = self._socket.close

    def read(self) -> bytes:
        return self._socket.recv(_READ)


class _Http2Pipe:
    """A WebSocket over HTTP/2 (RFC 8441)."""

    def __init__(self, ends: Ends, extensions: bytes) -> None:
        self._connection = connection = _H2(ends)
        connection.open(1)
        fields = [
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"https"),
            (b":path", b"/echo"),
            (b":authority", f"{HOST}:{ends.origin}".encode("ascii")),
            (b"sec-websocket-version", b"13"),
            *([(b"sec-websocket-extensions", extensions)] if extensions else []),
        ]
        connection.write(frames.h2_frame(frames.HEADERS, frames.END_HEADERS, 1, frames.FieldBlocks(fields).next()[0]))
        while True:
            for frame in connection.read():
                if frame.kind == frames.HEADERS:
                    found = connection.fields(frame)
                    if found.get(b":status") != b"200":
                        raise Unproven(f"the response to the handshake of a WebSocket is {found}")
                    return

    def write(self, data: bytes) -> None:
        # Not more than the smallest window at once.
        for at in range(0, len(data), 32768):
            part = data[at : at + 32768]
            self._connection.charge(1, len(part))
            self._connection.write(frames.h2_data(1, part))

    def read(self) -> bytes:
        return b"".join([frame.payload for frame in self._connection.read() if frame.kind == frames.DATA])

    def close(self) -> None:
        self._connection.close()


class WebSockets:
    """WebSockets, which send messages and receive their echoes.

    @param size: the size of a message.
    @param binary: whether messages are binary.
    @param deflate: whether messages are compressed.
    @param http2: whether the client uses HTTP/2.
    """

    def __init__(
        self,
        ends: Ends,
        connections: int,
        size: int = 64,
        *,
        binary: bool = False,
        deflate: bool = False,
        http2: bool = False,
    ) -> None:
        self._open: Callable[[], _Pipe] = lambda: (_Http2Pipe if http2 else _Http1Pipe)(
            ends, b"permessage-deflate" if deflate else b""
        )
        self._pipes: list[_Pipe] = [self._open() for _ in range(connections)]
        self._data = [bytearray() for _ in range(connections)]
        self._coders = [(zlib.compressobj(wbits=-15), zlib.decompressobj(-15)) for _ in range(connections * deflate)]
        self._size = size
        self._first = frames.FINAL | (frames.BINARY if binary else frames.TEXT) | frames.COMPRESSED * deflate
        self._number = 0

    def send(self, units: int) -> int:
        """See L{Traffic.send}."""
        done = 0
        while done < units:
            sent = []
            for at, pipe in enumerate(self._pipes):
                self._number += 1
                content = text_of(self._number, self._size)
                sent.append(content)
                pipe.write(frames.websocket_frame(self._first, self._encode(at, content), _MASK))
            for at, content in enumerate(sent):
                first, payload = next(self._receive(at))
                received = self._decode(at, payload)
                if (first, received) != (self._first, content):
                    raise Unproven(f"the echo is {received[:200]!r}")
            done += len(sent)
        return done

    def _encode(self, at: int, content: bytes) -> bytes:
        if not self._coders:
            return content
        coder = self._coders[at][0]
        # RFC 7692 section 7.2.1.
        return (coder.compress(content) + coder.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def _decode(self, at: int, payload: bytes) -> bytes:
        return self._coders[at][1].decompress(payload + b"\0\0\xff\xff") if self._coders else payload

    def _receive(self, at: int) -> Iterator[frames.WebSocketFrame]:
        while True:
            yield from frames.take_websocket_frames(self._data[at])
            more = self._pipes[at].read()
            if not more:
                raise Unproven("the WebSocket ends")
            self._data[at] += more

    def is_denied(self) -> bool:
        """See L{Traffic.is_denied}."""
        pipe, data = self._open(), bytearray()
        pipe.write(
            frames.websocket_frame(frames.FINAL | frames.TEXT, b'{"kind": "%b"}' % DENIED.encode("ascii"), _MASK)
        )
        while not (found := list(frames.take_websocket_frames(data))):
            data += pipe.read()
        pipe.close()
        first, payload = found[0]
        return first & 0x0F == frames.CLOSE and payload[:2] == (1008).to_bytes(2, "big")

    def close(self) -> None:
        """See L{Traffic.close}."""
        for pipe in self._pipes:
            pipe.close()


class Events:
    """Event streams, to each of which the origin sends one event at a time."""

    _EVENT: Final = re.compile(re.escape(EVENT % 1).replace(b"0000001", b"([0-9]{7})"))

    def __init__(self, ends: Ends, connections: int) -> None:
        self._sockets = [open_tunnel(ends, "http/1.1") for _ in range(connections)]
        for one in self._sockets:
            one.sendall(f"GET /events HTTP/1.1\r\nHost: {HOST}:{ends.origin}\r\n\r\n".encode("ascii"))
        for one in self._sockets:
            status, _ = receive(one.recv)
            if status != 200:
                raise Unproven(f"the response to a request for events is {status}")
        self._data = [b""] * connections
        self._ticker = socket.create_connection(("127.0.0.1", ends.plain), _TIMEOUT)
        self._last = 0

    def send(self, units: int) -> int:
        """See L{Traffic.send}."""
        done = 0
        while done < units:
            self._ticker.sendall(b"GET /tick HTTP/1.1\r\n\r\n")
            status, content = receive(self._ticker.recv)
            if (status, content) != (200, b"%d" % len(self._sockets)):
                raise Unproven(f"the origin has {content!r} event streams")
            numbers = {self._receive(at) for at in range(len(self._sockets))}
            if len(numbers) != len(self._sockets) or min(numbers) <= self._last:
                raise Unproven("an event is repeated")
            self._last = max(numbers)
            done += len(self._sockets)
        return done

    def _receive(self, at: int) -> int:
        """Receive an event; the content is in chunks, whose frames are between events."""
        while (found := self._EVENT.search(self._data[at])) is None:
            more = self._sockets[at].recv(_READ)
            if not more:
                raise Unproven("the event stream ends")
            self._data[at] += more
        self._data[at] = self._data[at][found.end() :]
        return int(found[1])

    def is_denied(self) -> bool:
        """See L{Traffic.is_denied}.  The origin sends no forbidden event."""
        return False

    def close(self) -> None:
        """See L{Traffic.close}."""
        for one in [*self._sockets, self._ticker]:
            one.close()


class Requests:
    """Requests of HTTP/1.1, whose responses have the content of the request."""

    def __init__(self, ends: Ends, connections: int, size: int = 64) -> None:
        self._sockets = [open_tunnel(ends, "http/1.1") for _ in range(connections)]
        self._head = f"POST /echo HTTP/1.1\r\nHost: {HOST}:{ends.origin}\r\nContent-Length: {size}\r\n\r\n".encode(
            "ascii"
        )
        self._size = size
        self._number = 0

    def send(self, units: int) -> int:
        """See L{Traffic.send}."""
        done = 0
        while done < units:
            sent = []
            for one in self._sockets:
                self._number += 1
                content = text_of(self._number, self._size)
                sent.append(content)
                one.sendall(self._head + content)
            for one, content in zip(self._sockets, sent, strict=True):
                status, received = receive(one.recv)
                if (status, received) != (200, content):
                    raise Unproven(f"the response is {status}: {received[:200]!r}")
            done += len(sent)
        return done

    def is_denied(self) -> bool:
        """See L{Traffic.is_denied}."""
        return False

    def close(self) -> None:
        """See L{Traffic.close}."""
        for one in self._sockets:
            one.close()
