"""The clients of a fleet: threads that send requests through HAProxy, and hold tunnels open."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from itertools import count

from benchmarks.soak.client import PATIENCE, Closed, Wire
from benchmarks.soak.client_threads import ClientThreads
from benchmarks.soak.journal import Journal
from tests.fleet.observations import ASKED, CLOSED, COMPLETE, CUT, DENIED, KEPT, ONCE, PROBLEM

# The number of paths whose decisions are cached.
PATHS = 40
_PATHS = {KEPT: 40, ONCE: 10, DENIED: 5, ASKED: 1}
_POLL = 0.25
_AGAIN = 0.2


def addresses(first: int = 64) -> Iterator[str]:
    """Return loopback addresses, each of them once.

    @param first: the second part of the first address.
    """
    for number in count(1):
        yield f"127.{first + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


class Load(ClientThreads):
    """All clients.

    @param port: the port of HAProxy.
    @param origin: the address of the origin; C{tunnels} is that of the origin of tunnels.
    """

    def __init__(
        self, port: int, origin: str, tunnels: str, journals: tuple[Journal, Journal], *, seed: int, clients: int,
        holders: int, think: float,
    ) -> None:  # fmt: skip
        super().__init__(PATIENCE)
        self._port = port
        self._origin = origin
        self._tunnels = tunnels
        self._sent, self._held = journals
        self._think = think
        self._lock = threading.Lock()
        self._addresses = addresses()
        for number in range(clients):
            self.add(self._send, random.Random(f"{seed} {number}"), f"c{number}")
        for number in range(holders):
            self.add(self._hold, identity(number))

    def _connect(self) -> tuple[Wire, str]:
        with self._lock:
            address = next(self._addresses)
        return Wire(socket.create_connection(("127.0.0.1", self._port), PATIENCE, (address, 0))), address

    # -- requests

    def _send(self, chosen: random.Random, name: str) -> None:
        numbers = count(1)
        while not self.over.is_set():
            requests = chosen.choice((1, 1, 3, 20))
            wire, address = self._connect()
            try:
                for _ in range(requests):
                    # The proxy may close a connection that waits for a request.
                    if self.over.is_set() or select.select([wire.sock], [], [], 0)[0]:
                        break
                    if not self._request(wire, address, chosen, f"{name}-{next(numbers)}"):
                        break
                    time.sleep(chosen.uniform(0.0, self._think))
            finally:
                wire.close()

    def _request(self, wire: Wire, address: str, chosen: random.Random, id_: str) -> bool:
        """Send one request.

        @return: whether the connection can carry another one.
        """
        folder = chosen.choices(list(_PATHS), list(_PATHS.values()))[0]
        path = f"{folder}{chosen.randrange(PATHS)}"
        method = "POST" if folder == ONCE and chosen.random() < 0.5 else "GET"
        content = id_.encode("ascii") if method == "POST" else b""
        length = f"Content-Length: {len(content)}\r\n" if content else ""
        head = f"{method} http://{self._origin}{path}?id={id_} HTTP/1.1\r\nHost: {self._origin}\r\n{length}\r\n"
        wire.begun = again = False
        sent = time.monotonic()
        try:
            wire.send(head.encode("ascii") + content)
            outcome, detail, again = _response(wire, id_)
        except Closed as error:
            outcome, detail = (CUT if wire.begun else CLOSED), str(error)
        except TimeoutError:
            outcome, detail = "silence", "within a response" if wire.begun else "no response"
        self._sent.write(
            id=id_, address=address, method=method, path=path, sent=sent, ended=time.monotonic(), outcome=outcome,
            detail=detail,
        )  # fmt: skip
        return again

    # -- tunnels

    def _hold(self, name: str) -> None:
        numbers = count(1)
        while not self.over.is_set():
            wire, address = self._connect()
            asked, opened, detail = time.monotonic(), None, ""
            id_ = f"{name}-{next(numbers)}"
            try:
                self._open(wire, name, id_)
                opened = time.monotonic()
                while not self.over.is_set() and not select.select([wire.sock], [], [], _POLL)[0]:
                    pass
                if not self.over.is_set():
                    with contextlib.suppress(ConnectionResetError):
                        detail = repr(wire.sock.recv(1000))
                    raise Closed("end")
                is_cut = False
            except Closed as error:
                is_cut, detail = True, detail or str(error)
            except TimeoutError:
                is_cut, detail = True, "silence"
            ended = time.monotonic()
            wire.close()
            self._held.write(
                id=id_, identity=name, address=address, asked=asked, opened=opened, ended=ended, is_cut=is_cut,
                detail=detail,
            )  # fmt: skip
            self.over.wait(_AGAIN)

    def _open(self, wire: Wire, name: str, id_: str) -> None:
        """Open a tunnel.

        @raise Closed: if that fails, with the reason.
        """
        label = base64.b64encode(f"{name}:x".encode("ascii")).decode("ascii")
        host = f"HTTP/1.1\r\nHost: {self._tunnels}\r\n"
        wire.send(f"CONNECT {self._tunnels} {host}Proxy-Authorization: Basic {label}\r\n\r\n".encode("ascii"))
        status, fields = wire.head()
        if status != 200:
            raise Closed(f"{status} {fields}")
        # If the proxy refuses the tunnel, it is the proxy that responds.
        wire.send(f"GET /tunnel?id={id_} {host}\r\n".encode("ascii"))
        outcome, detail, _ = _response(wire, id_)
        if outcome != COMPLETE:
            raise Closed(f"{outcome} {detail}")


def identity(number: int) -> str:
    """Return the name of a client with a tunnel."""
    return f"holder-{number}"


def _response(wire: Wire, id_: str) -> tuple[str, str, bool]:
    """Read a response; return its outcome, its details, and whether the connection can carry another request."""
    status, fields = wire.head()
    body = wire.body(fields)
    again = fields.get("connection", "").lower() != "close"
    if "proxy-status" in fields:
        return PROBLEM, f"{status} {json.loads(body)['type'].rpartition(':')[2]}", again
    if status != 200 or body != id_.encode("ascii"):
        return "wrong", f"{status} {fields} {body[:100]!r}", again
    return COMPLETE, "", again
