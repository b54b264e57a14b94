"""An origin of the soak test: a program that records each request, and responds with content that contains its id.

Arguments: the address, the port, the journal, the file with its mode, and for HTTPS the certificate and its key.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.soak.journal import Journal, Mood, id_in
from egress.http.upgrade import accept_of

# The faults of an origin, in addition to killing and stopping it.
MOODS = ("slow", "cut", "reset", "silent")

_SLOW = 1.5
_SILENCE = 8.0
_PIECE = 16 << 10


def content(id_: str, size: int) -> bytes:
    """The content of a response: the repeated id."""
    line = f"{id_}\n".encode("ascii")
    return (line * (size // len(line) + 1))[:size]


class Origin:
    """Responds to requests."""

    def __init__(self, journal: Journal, mood: Mood) -> None:
        self._journal = journal
        self._mood = mood

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to all requests of a connection."""
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the proxy has disconnected
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        id_ = id_in(target)
        self._journal.write(id=id_, method=method)
        took = len(await reader.readexactly(int(fields.get("content-length", "0"))))
        mood = self._mood.get()
        if mood == "slow":
            await asyncio.sleep(random.uniform(0.0, _SLOW))
        elif mood == "silent":
            await asyncio.sleep(_SILENCE)
        if mood in ("reset", "silent"):
            writer.transport.abort()
            return False
        if fields.get("upgrade") == "websocket":
            return await self._repeat(reader, writer, id_, fields.get("sec-websocket-key", ""), mood)
        asked = parse_qs(urlsplit(target).query)
        size, chunked = int(asked.get("size", ["0"])[0]), "chunked" in asked
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        writer.write(f"HTTP/1.1 200 OK\r\nX-Soak: {id_} {took}\r\n{framing}\r\n\r\n".encode("ascii"))
        body = b"" if method == "HEAD" else content(id_, size)
        stop = len(body) // 2 if mood == "cut" else len(body)
        for begin in range(0, stop, _PIECE):
            piece = body[begin : min(begin + _PIECE, stop)]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
        if mood == "cut":
            return False
        if chunked and method != "HEAD":
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _repeat(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, id_: str, key: str, mood: str
    ) -> bool:
        accept = accept_of(key.encode("ascii")).decode("ascii")
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nX-Soak: {id_} 0\r\nSec-WebSocket-Accept: {accept}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode("ascii")
        )
        while data := await reader.read(65536):
            if mood == "cut":
                break
            writer.write(data)
            await writer.drain()
        return False


async def main(host: str, port: int, journal: Path, mood: Path, certificate: str = "", key: str = "") -> None:
    """Serve until killed."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    origin = Origin(Journal(journal), Mood(mood))
    server = await asyncio.start_server(origin.serve, host, port, backlog=512, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), *sys.argv[5:]))
