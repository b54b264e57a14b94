"""The origin of L{benchmarks.messages}: it echoes requests, gRPC calls and WebSocket messages, and sends events.

C{python -m benchmarks.message_origin --tls PORT --plain PORT --certificate FILE --key FILE}.  Both ports serve:

  - C{POST /echo} over HTTP/1.1, and every C{POST} over HTTP/2 as a gRPC call: the response has the content of the
    request;
  - C{GET /echo} with an upgrade: a WebSocket that echoes frames as they are, without a mask.  Compressed messages are
    echoed compressed, which is valid because both directions then have the same history;
  - C{GET /events}: an event stream, which gets one event at each C{GET /tick};
  - C{GET /count}: the number of echoed requests, calls and messages, and of events, so far.

It ignores the windows of its peers, which are larger than the messages in transit.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Sequence
from typing import ClassVar, Final

from benchmarks import message_frames as frames
from egress.http.upgrade import accept_of

EVENT: Final = b'data: {"number": "%07d", "text": "' + b"x" * 31 + b'"}\n\n'
_DEFLATE: Final = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,gzip"))
_TRAILERS = ((b"grpc-status", b"0"),)


class _Connection(asyncio.Protocol):
    """A connection, whose first bytes tell its version of HTTP."""

    count: ClassVar[int] = 0
    streams: ClassVar[set[_Connection]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = bytearray()
        self._take = self._take_request
        self._blocks = frames.FieldBlocks(_HEAD, _TRAILERS)
        self._contents: dict[int, bytes] = {}

    def connection_lost(self, error: Exception | None) -> None:
        self.streams.discard(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._data.startswith(frames.PREFACE):
            del self._data[: len(frames.PREFACE)]
            self._transport.write(frames.h2_beginning(client=False))
            self._take = self._take_frames
        self._take()

    # -- HTTP/1.1

    def _take_request(self) -> None:
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            line, *lines = bytes(self._data[:end]).split(b"\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in lines)}
            size = int(fields.get(b"content-length", b"0"))
            if len(self._data) < end + 4 + size:
                return
            content = bytes(self._data[end + 4 : end + 4 + size])
            del self._data[: end + 4 + size]
            path = line.split(b" ")[1]
            if b"sec-websocket-key" in fields:
                self._upgrade(fields)
                return
            self._respond(path, content)

    def _respond(self, path: bytes, content: bytes) -> None:
        if path == b"/events":
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            self.streams.add(self)
            return
        if path == b"/tick":
            for each in self.streams:
                each.count_one()
                each._transport.write(EVENT % _Connection.count)  # noqa: SLF001
            content = b"%d" % len(self.streams)
        elif path == b"/count":
            content = b"%d" % _Connection.count
        else:
            self.count_one()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))

    def count_one(self) -> None:
        """Count a message."""
        _Connection.count += 1

    def _upgrade(self, fields: dict[bytes, bytes]) -> None:
        deflate = _DEFLATE if b"permessage-deflate" in fields.get(b"sec-websocket-extensions", b"") else b""
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        accept = accept_of(fields[b"sec-websocket-key"])
        self._transport.write(b"%bSec-WebSocket-Accept: %b\r\n%b\r\n" % (head, accept, deflate))
        self._take = self._take_messages
        self._take()

    def _take_messages(self) -> None:
        for frame in frames.take_websocket_frames(self._data):
            self.count_one()
            self._transport.write(frames.websocket_frame(frame.first, frame.payload))

    # -- HTTP/2

    def _take_frames(self) -> None:
        out: list[bytes] = []
        for frame in frames.take_h2_frames(self._data):
            if frame.kind == frames.DATA:
                content = self._contents.pop(frame.stream, b"") + frame.payload
                if frame.flags & frames.END_STREAM:
                    out += self._answer(frame.stream, content)
                else:
                    self._contents[frame.stream] = content
            elif frame.kind in (frames.SETTINGS, frames.PING) and not frame.flags & frames.ACK:
                payload = b"" if frame.kind == frames.SETTINGS else frame.payload
                out.append(frames.h2_frame(frame.kind, frames.ACK, 0, payload))
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, stream: int, content: bytes) -> list[bytes]:
        self.count_one()
        head, trailers = self._blocks.next()
        return [
            frames.h2_frame(frames.HEADERS, frames.END_HEADERS, stream, head),
            frames.h2_frame(frames.DATA, 0, stream, content),
            frames.h2_frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, trailers),
        ]


async def _serve(options: argparse.Namespace) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    loop = asyncio.get_running_loop()
    await loop.create_server(_Connection, "127.0.0.1", options.plain)
    server = await loop.create_server(_Connection, "127.0.0.1", options.tls, ssl=context)
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.message_origin", description=__doc__)
    for name in ("tls", "plain"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("certificate", "key"):
        parser.add_argument(f"--{name}", required=True)
    asyncio.run(_serve(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
