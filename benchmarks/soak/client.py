"""The clients of the soak test: threads with plain sockets that send requests of all kinds, and record the outcomes."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from benchmarks.soak.client_threads import ClientThreads
from benchmarks.soak.journal import Journal
from benchmarks.soak.judge import Asked
from benchmarks.soak.origin import content

# Longer than all timeouts of the proxy and all faults together.  A longer wait is a failure.
PATIENCE = 30.0

_KINDS = {
    "get": 40,
    "chunked": 8,
    "head": 8,
    "upload": 14,
    "denied": 10,
    "slow reader": 4,
    "leaver": 10,
    "websocket": 6,
}
_SIZES = (0, 10, 1_000, 20_000, 200_000)
_SLOW_SIZE = 400_000
_UPLOAD = 100_000


class Closed(Exception):
    """The proxy closed the connection."""


@dataclass(frozen=True)
class Where:
    """The addresses that the clients use.

    @ivar http: host and port of the plain origin; C{https} and C{tunnel} are host and port of the other origins.
    """

    proxy: int
    http: tuple[str, int]
    https: tuple[str, int]
    tunnel: tuple[str, int]
    context: ssl.SSLContext


class Wire:
    """A connection to the proxy, read up to the delimiters of HTTP/1.1."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.begun = False
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send data.  The read data shows whether the proxy still accepts it."""
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            pass

    def _more(self, pause: float = 0.0) -> None:
        if pause:
            time.sleep(pause)
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(repr(error)) from error
        if not data:
            raise Closed("end")
        self.begun = True
        self._buffer += data

    def until(self, mark: bytes) -> bytes:
        """Read up to and including a delimiter."""
        while mark not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    def exactly(self, size: int, pause: float = 0.0) -> bytes:
        """Read a number of bytes, fast or slowly."""
        while len(self._buffer) < size:
            self._more(pause)
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split(" ")[1]), fields

    def body(self, fields: dict[str, str], pause: float = 0.0) -> bytes:
        """Read the content of a response."""
        if "chunked" not in fields.get("transfer-encoding", ""):
            return self.exactly(int(fields.get("content-length", "0")), pause)
        found = b""
        while size := int(self.until(b"\r\n"), 16):
            found += self.exactly(size + 2, pause)[:-2]
        self.until(b"\r\n")
        return found

    def close(self, *, reset: bool = False) -> None:
        """Close it."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Clients(ClientThreads):
    """A number of client threads."""

    def __init__(self, where: Where, journal: Journal, threads: int, seed: int, think: float) -> None:
        super().__init__(PATIENCE)
        self._where = where
        self._journal = journal
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._think = think
        for number in range(threads):
            self.add(self._run, random.Random(f"{seed} {number}"))

    def _run(self, chosen: random.Random) -> None:
        while not self.over.is_set():
            with self._lock:
                number = next(self._numbers)
            way = chosen.choices(("http", "https", "tunnel"), (5, 5, 1))[0]
            if way == "tunnel":
                _Tunnel(self._where, chosen, f"t{number}", self._note).run()
            else:
                session = _Session(self._where, chosen, f"c{number}", self._note, secure=way == "https")
                session.run(self.over.is_set, self._think)

    def _note(self, asked: Asked) -> None:
        self._journal.write(
            id=asked.id, kind=asked.kind, method=asked.method, sent=asked.sent, outcome=asked.outcome,
            detail=asked.detail,
        )  # fmt: skip


class _Session:
    """One connection with one request or several, plain or inside an intercepted tunnel."""

    def __init__(
        self, where: Where, chosen: random.Random, name: str, note: Callable[[Asked], None], *, secure: bool
    ) -> None:
        self._where = where
        self._chosen = chosen
        self._name = name
        self._note = note
        self._secure = secure
        self._host, self._port = where.https if secure else where.http

    def run(self, over: Callable[[], bool], think: float) -> None:
        """All requests."""
        requests = self._chosen.choice((1, 1, 3, 20))
        wire = self._open()
        if wire is None:
            return
        try:
            for number in range(requests):
                if over() or not self._request(wire, f"{self._name}-{number}"):
                    break
                time.sleep(self._chosen.uniform(0.0, think))
        finally:
            wire.close()

    def _open(self) -> Wire | None:
        wire = Wire(socket.create_connection(("127.0.0.1", self._where.proxy), PATIENCE))
        if not self._secure:
            return wire
        try:
            wire.send(f"CONNECT {self._host}:{self._port} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
            status, _ = wire.head()
            if status != 200:
                raise Closed(f"CONNECT got {status}")
            wire.sock = self._where.context.wrap_socket(wire.sock, server_hostname=self._host)
        except (OSError, Closed) as error:
            self._note(Asked(self._name, "connect", "CONNECT", False, "closed", repr(error)))
            wire.close()
            return None
        return wire

    def _head(self, id_: str, kind: str, method: str, query: str, *fields: str) -> bytes:
        folder = {"denied": "denied", "websocket": "ws"}.get(kind, "r")
        authority = f"{self._host}:{self._port}"
        path = f"/{folder}/{id_}{query}"
        target = path if self._secure else f"http://{authority}{path}"
        return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {authority}", *fields, "", ""]).encode("ascii")

    def _request(self, wire: Wire, id_: str) -> bool:
        """Send one request.

        @return: whether the connection can carry another request.
        """
        kind = self._chosen.choices(list(_KINDS), list(_KINDS.values()))[0]
        method = {"head": "HEAD", "upload": "POST"}.get(kind, "GET")
        size = _SLOW_SIZE if kind == "slow reader" else self._chosen.choice(_SIZES)
        upload = content(id_, self._chosen.randrange(_UPLOAD)) if kind == "upload" else b""
        fields = [f"Content-Length: {len(upload)}"] if kind == "upload" else []
        if kind == "websocket":
            key = base64.b64encode(id_.encode("ascii").ljust(16)[:16]).decode("ascii")
            fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
            fields.append(f"Sec-WebSocket-Key: {key}")
        query = "" if kind == "websocket" else f"?size={size}" + "&chunked=1" * (kind == "chunked")
        head = self._head(id_, kind, method, query, *fields)
        if kind == "leaver":
            self._leave(wire, id_, size)
            return False
        wire.begun = False
        again = False
        try:
            wire.send(head + upload)
            outcome, detail, again = self._answer(wire, id_, kind, size, len(upload))
        except Closed as error:
            outcome, detail = ("cut" if wire.begun else "closed"), str(error)
        except TimeoutError:
            outcome, detail = "silence", "within a response" if wire.begun else "no response"
        self._note(Asked(id_, kind, method, True, outcome, detail))
        return again

    def _answer(self, wire: Wire, id_: str, kind: str, size: int, uploaded: int) -> tuple[str, str, bool]:
        status, fields = wire.head()
        if kind == "websocket" and status == 101:
            return self._websocket(wire, id_)
        body = b"" if kind == "head" else wire.body(fields, 0.05 if kind == "slow reader" else 0.0)
        again = fields.get("connection", "").lower() != "close"
        if "proxy-status" in fields:
            code = "" if kind == "head" else json.loads(body)["type"].rpartition(":")[2]
            return "problem", f"{status} {code}".strip(), again
        if kind == "denied" or status != 200 or fields.get("x-soak") != f"{id_} {uploaded}":
            return "wrong", f"{status} {fields}", again
        if kind != "head" and body != content(id_, size):
            return "wrong", f"{len(body)} bytes of {size}, or others", again
        return "complete", str(status), again

    def _websocket(self, wire: Wire, id_: str) -> tuple[str, str, bool]:
        for number in range(self._chosen.randrange(1, 4)):
            message = content(f"{id_}-{number}", 3000)
            wire.send(message)
            if wire.exactly(len(message)) != message:
                return "wrong", "it came back as another", False
        return "complete", "101", False

    def _leave(self, wire: Wire, id_: str, size: int) -> None:
        """Disconnect during a request, in one of several ways."""
        way = self._chosen.choice(("in the head", "in the content", "before the response", "in the response"))
        method = "POST" if way == "in the content" else "GET"
        fields = ["Content-Length: 50000"] if method == "POST" else []
        head = self._head(id_, "leaver", method, f"?size={size}", *fields)
        if way == "in the head":
            head = head[: self._chosen.randrange(10, len(head) - 1)]
        wire.send(head)
        if way == "in the content":
            wire.send(content(id_, self._chosen.randrange(1, 49_000)))
        time.sleep(self._chosen.uniform(0.0, 0.1))
        if way == "in the response":
            with contextlib.suppress(Closed, OSError):  # it would have disconnected anyway
                wire.head()
        # A reset discards the data that the proxy has not read, so reset only after the proxy has responded.
        wire.close(reset=way == "in the response")
        self._note(Asked(id_, "leaver", method, way != "in the head", "left", way))


class _Tunnel:
    """One tunnel to a passthrough host.  Its id is the identity that it claims."""

    def __init__(self, where: Where, chosen: random.Random, name: str, note: Callable[[Asked], None]) -> None:
        self._where = where
        self._chosen = chosen
        self._name = name
        self._note = note

    def run(self) -> None:
        """Run it."""
        wire = Wire(socket.create_connection(("127.0.0.1", self._where.proxy), PATIENCE))
        try:
            outcome, detail = self._talk(wire)
        except Closed as error:
            # After the response to the CONNECT, the end of the origin is visible.
            outcome, detail = ("cut" if wire.begun else "refused"), str(error)
        except TimeoutError:
            outcome, detail = "silence", "in a tunnel"
        finally:
            wire.close()
        self._note(Asked(self._name, "tunnel", "CONNECT", True, outcome, detail))

    def _talk(self, wire: Wire) -> tuple[str, str]:
        host, port = self._where.tunnel
        label = base64.b64encode(f"{self._name}:x".encode("ascii")).decode("ascii")
        authority = f"{host}:{port}"
        wire.send(
            f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Basic {label}\r\n\r\n".encode()
        )
        status, fields = wire.head()
        if status != 200:
            return "wrong", f"{status} {fields}"
        for _ in range(self._chosen.choice((1, 2, 5))):
            size = self._chosen.choice(_SIZES)
            wire.send(f"GET /r/{self._name}?size={size} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
            status, fields = wire.head()
            body = wire.body(fields)
            if "proxy-status" in fields:
                return "problem", f"{status} {json.loads(body)['type'].rpartition(':')[2]}"
            if status != 200 or body != content(self._name, size):
                return "wrong", f"{status} {fields}"
        return "complete", "200"
