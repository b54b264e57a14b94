"""The attackers of the soak test: a program that attacks while its mode says so, from its own address.

Arguments: the address and the port of a listener that shows that the program runs, the journal, the file with its mode,
the port of the proxy, the authority of the plain origin, and the port of a DNS server that never responds.

Rates are bounded, because the test measures the fairness of the proxy, not the CPU share of the programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.soak.journal import Journal, Mood

HANGING_NAMES = "hanging names"
PIPELINING = "pipelining"
SLOW_BODIES = "slow bodies"
MOODS = (HANGING_NAMES, PIPELINING, SLOW_BODIES)

# On Linux, all of 127.0.0.0/8 is this machine.
_SOURCE = "127.0.0.66"
_LOOK = 0.1

# Names per second, and the time that the client of one name waits.
_NAMES = 20
_NAME_PATIENCE = 2.0
# Connections that pipeline, and the requests of each in one write, twice per second.
_PIPES = 4
_BURST = 40
# Connections with slow bodies: the beginning arrives immediately, the rest in small pieces.
_BODIES = 30
_ANNOUNCED = 1_000_000
_BEGINNING = 64 << 10
_DROP = b"d" * 512


class Attackers:
    """Runs one attack at a time.

    @ivar authority: the authority of the plain origin.
    """

    def __init__(self, journal: Journal, proxy: int, authority: str) -> None:
        self._journal = journal
        self._proxy = proxy
        self._authority = authority
        self._numbers = count(1)
        self._attacks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            HANGING_NAMES: self._names,
            PIPELINING: self._pipes,
            SLOW_BODIES: self._bodies,
        }

    async def run(self, mood: Mood) -> None:
        """Attack according to the mode, until killed."""
        under_way: tuple[str, asyncio.Task[None]] | None = None
        while True:
            now = mood.get()
            if under_way is not None and under_way[0] != now:
                under_way[1].cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await under_way[1]
                under_way = None
            if under_way is None and now:
                under_way = now, asyncio.create_task(self._attacks[now]())
            await asyncio.sleep(_LOOK)

    def _id(self, kind: str, *, sent: bool) -> str:
        """Give a request an id, and record it.  The sender disconnects before the response, or ignores the response.

        @param sent: whether the proxy certainly reads the complete head.
        """
        id_ = f"x{next(self._numbers)}"
        method = "POST" if kind == SLOW_BODIES else "GET"
        self._journal.write(id=id_, kind=kind, method=method, sent=sent, outcome="left", detail=kind)
        return id_

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._proxy, local_addr=(_SOURCE, 0))

    async def _names(self) -> None:
        """Request different names that no DNS server knows."""
        async with _Group() as group:
            while True:
                group.start(self._name())
                await asyncio.sleep(1 / _NAMES)

    async def _name(self) -> None:
        with contextlib.suppress(OSError):
            _, writer = await self._open()
            try:
                id_ = self._id(HANGING_NAMES, sent=True)
                host = f"{id_}.hanging.test"
                writer.write(f"GET http://{host}/r/{id_} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("ascii"))
                await asyncio.sleep(_NAME_PATIENCE)
            finally:
                writer.close()

    async def _pipes(self) -> None:
        """Send many requests in one write, repeatedly."""
        async with _Group() as group:
            for _ in range(_PIPES):
                group.start(self._pipe())
            await asyncio.Event().wait()

    async def _pipe(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await self._open()
                discarding = asyncio.create_task(_discard(reader))
                try:
                    while not discarding.done():
                        writer.write(b"".join(self._denied() for _ in range(_BURST)))
                        await writer.drain()
                        await asyncio.sleep(0.5)
                finally:
                    discarding.cancel()
                    writer.close()
            await asyncio.sleep(0.5)

    def _denied(self) -> bytes:
        id_ = self._id(PIPELINING, sent=False)
        target = f"http://{self._authority}/denied/{id_}"
        return f"GET {target} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode("ascii")

    async def _bodies(self) -> None:
        """Announce a large body, send its beginning, and send the rest slowly."""
        async with _Group() as group:
            for _ in range(_BODIES):
                group.start(self._body())
            await asyncio.Event().wait()

    async def _body(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await self._open()
                try:
                    id_ = self._id(SLOW_BODIES, sent=True)
                    target = f"http://{self._authority}/r/{id_}"
                    fields = f"Host: {self._authority}\r\nContent-Length: {_ANNOUNCED}"
                    writer.write(f"POST {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode("ascii"))
                    writer.write(b"b" * _BEGINNING)
                    while not writer.is_closing():
                        await writer.drain()
                        await asyncio.sleep(0.1)
                        writer.write(_DROP)
                finally:
                    writer.close()
            await asyncio.sleep(0.5)


class _Group:
    """Tasks that end together (C{asyncio.TaskGroup} needs a later Python than the oldest supported version)."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aenter__(self) -> _Group:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def main(address: tuple[str, int], journal: Path, mood: Path, proxy: int, authority: str, dns: int) -> None:
    """Run until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        # The socket accepts queries and ignores them.  A closed port would be a response.
        silent.bind(("127.0.0.1", dns))
        server = await asyncio.start_server(_close, *address)
        async with server:
            await Attackers(Journal(journal), proxy, authority).run(Mood(mood))


if __name__ == "__main__":
    asyncio.run(
        main(
            (sys.argv[1], int(sys.argv[2])),
            Path(sys.argv[3]),
            Path(sys.argv[4]),
            int(sys.argv[5]),
            sys.argv[6],
            int(sys.argv[7]),
        )
    )
