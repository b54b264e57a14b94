"""The origin of a fleet: a program that records each request before it responds.

Arguments: the address, the port, and the journal.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benchmarks.soak.journal import Journal
from tests.fleet.observations import BYTES, id_in


class Origin:
    """Responds to requests."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to all requests of a connection."""
        try:
            while True:
                await self._one(reader, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy has disconnected
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target = (await reader.readuntil(b"\n")).decode("latin-1").split(" ")[:2]
        fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        id_ = id_in(target)
        self._journal.write(id=id_, method=method, path=target.partition("?")[0])
        if "content-length:" in fields:
            await reader.readexactly(int(fields.split("content-length:")[1].split("\r\n")[0]))
        path = target.partition("?")[0]
        content = bytes(int(path.removeprefix(BYTES))) if path.startswith(BYTES) else id_.encode("ascii")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


async def main(host: str, port: int, journal: Path) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Origin(Journal(journal)).serve, host, port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
