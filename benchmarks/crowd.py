"""The effect of 10,000 idle connections and 1,000 slow connections on one client.

Run it with C{python -m benchmarks.crowd [--idle N] [--slow N] [--rounds N]}, on Linux.  Half of the idle connections
are intercepted TLS, a quarter are opaque tunnels, and a quarter are plain keep-alive connections; each has carried one
request.  Half of the slow connections send one byte of a head every three seconds, and half read a response slowly.
One client sends small requests over keep-alive connections, alternately plain and intercepted, without and with the
other connections, in each round.  Its C{p99} with them must be at most three times its C{p99} without them.

The proxy has two processes by default, because one process with the usual hard limit of 20,000 open files accepts fewer
connections.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.idle_origin import raise_limit, serve
from tests.certificates import TestCA
from tests.integration.base import ALLOW_ALL, Proxy
from tests.integration.processes import free_port

PLAIN, TLS, OPAQUE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
WITHIN = 3.0

# The connections of each client address, well below --max-connections-per-client.
_EACH = 1000
_PACE = 3.0
_BIG = 2 << 20
_NARROW = 4096
_HOLDERS = 2


def _respond(path: bytes) -> bytes:
    return bytes(_BIG) if path.startswith(b"/big") else b"ok"


# -- clients


@dataclass(frozen=True)
class Place:
    """The addresses of all programs.

    @ivar ports: the ports of the origins, by their addresses.
    """

    proxy: int
    ca: str
    ports: dict[str, int]

    def connect(self, host: str, source: str = "127.0.0.1") -> socket.socket:
        """Connect through the proxy, with TLS if the host is intercepted."""
        sock = socket.create_connection(("127.0.0.1", self.proxy), 60, (source, 0))
        if host == PLAIN:
            return sock
        target = f"{host}:{self.ports[host]}"
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        head = sock.recv(4096)
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(head)
        if host == OPAQUE:
            return sock
        return _context(self.ca).wrap_socket(sock, server_hostname=host)

    def head(self, host: str, path: str = "/") -> bytes:
        """Return a request."""
        authority = f"{host}:{self.ports[host]}"
        target = f"http://{authority}{path}" if host == PLAIN else path
        return f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii")


_contexts: dict[str, ssl.SSLContext] = {}


def _context(ca: str) -> ssl.SSLContext:
    if ca not in _contexts:
        _contexts[ca] = ssl.create_default_context(cafile=ca)
    return _contexts[ca]


def _ask(sock: socket.socket, request: bytes) -> None:
    sock.sendall(request)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        data = sock.recv(4096)
        if not data:
            raise AssertionError(answer)
        answer += data


def _hold(place: Place, number: int, idle: int, slow: int, line: Connection) -> None:
    """Open a share of the connections, hold them until told otherwise, and report how many are still open."""
    raise_limit()
    opened = count()

    def source() -> str:
        return f"127.0.{10 + number}.{1 + next(opened) // _EACH}"

    hosts = [TLS, PLAIN, TLS, OPAQUE]
    held = []
    for index in range(idle):
        host = hosts[index % 4]
        sock = place.connect(host, source())
        _ask(sock, place.head(host))
        held.append(sock)
    dripping, reading = [], []
    for index in range(slow):
        host = (TLS, PLAIN)[index % 2]
        sock = place.connect(host, source())
        if index % 4 < 2:
            sock.sendall(place.head(host)[:20])
            dripping.append(sock)
        else:
            # Otherwise the kernel would buffer most of the response.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW)
            sock.sendall(place.head(host, "/big"))
            reading.append(sock)
    line.send("ready")
    while not line.poll(_PACE):
        for sock in dripping:
            sock.sendall(b"a")
        for sock in reading:
            if not sock.recv(512):
                raise AssertionError("the connection of a slow reader was cut")
    for index, sock in enumerate(held):
        # Still open and usable.
        _ask(sock, place.head(hosts[index % 4]))
    line.send("all there")


@contextmanager
def _crowd(place: Place, idle: int, slow: int) -> Iterator[None]:
    fork = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        lines = []
        for number in range(_HOLDERS):
            line, theirs = fork.Pipe()
            share = (place, number, idle // _HOLDERS, slow // _HOLDERS, theirs)
            process = fork.Process(target=_hold, args=share, daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.kill)
            lines.append(line)
        for line in lines:
            line.recv()
        yield
        for line in lines:
            line.send("end")
        for line in lines:
            line.recv()  # or the end of a connection that the proxy closed


def _measure(place: Place, requests: int) -> list[float]:
    """Send a number of requests, alternately plain and intercepted.

    @return: the durations in milliseconds.
    """
    taken = []
    with place.connect(PLAIN) as plain, place.connect(TLS) as secure:
        ways = ((plain, place.head(PLAIN)), (secure, place.head(TLS)))
        for number in range(requests + 100):
            sock, request = ways[number % 2]
            began = time.perf_counter()
            _ask(sock, request)
            taken.append(1000 * (time.perf_counter() - began))
            time.sleep(0.002)
    return taken[100:]


@dataclass
class _Figures:
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, taken: list[float]) -> str:
        taken.sort()
        self.p50.append(taken[len(taken) // 2])
        self.p99.append(taken[len(taken) * 99 // 100])
        return f"p50 {self.p50[-1]:.2f} ms, p99 {self.p99[-1]:.2f} ms"


def _descriptors(proxy: Proxy) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in proxy.pids)


def run(options: argparse.Namespace, directory: Path) -> bool:
    """Measure.

    @return: whether the target is met.
    """
    ca = TestCA("Crowd")
    certificate, key = ca.issue(TLS).write(directory, "origin")
    ports = {host: free_port(host) for host in (PLAIN, TLS, OPAQUE)}
    origin = multiprocessing.get_context("fork").Process(
        target=serve,
        args=(_respond, ports, str(certificate), str(key)),
        kwargs={"without_tls": (PLAIN, OPAQUE)},
        daemon=True,
    )
    origin.start()
    policy = directory / "policy.toml"
    policy.write_text(ALLOW_ALL, "utf-8")
    # The timeouts are raised, because closing idle and slow connections would make the test too easy.
    patient = [word for name in ("idle", "head", "response") for word in (f"--{name}-timeout", "1h")]
    proxy = Proxy(
        directory,
        *("--policy", str(policy), "--ssl-extra-ca-certs", str(ca.write(directory, "origins-ca"))),
        *("--allow-address", "127.0.0.0/8", "--passthrough", OPAQUE, "--workers", str(options.workers), *patient),
    )
    place = Place(proxy.port, str(proxy.ca), ports)
    without, with_ = _Figures(), _Figures()
    try:
        _measure(place, 200)
        for number in range(1, options.rounds + 1):
            print(f"round {number}: without {without.add(_measure(place, options.requests))}", flush=True)
            with _crowd(place, options.idle, options.slow):
                held = f"{_descriptors(proxy)} descriptors, {proxy.memory('VmRSS') >> 20} MiB"
                print(f"round {number}: with    {with_.add(_measure(place, options.requests))}; {held}", flush=True)
    finally:
        proxy.process.stop(60)
        origin.kill()
        origin.join()
    p50 = statistics.median(with_.p50) / statistics.median(without.p50)
    p99 = statistics.median(with_.p99) / statistics.median(without.p99)
    reached = p99 <= WITHIN
    print(f"p50 {p50:.2f} times, p99 {p99:.2f} times the value without them: {'within' if reached else 'NOT within'} 3")
    return reached


def main() -> int:
    """Run the command line.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000, metavar="N", help="idle connections (10000)")
    parser.add_argument("--slow", type=int, default=1_000, metavar="N", help="slow connections (1000)")
    parser.add_argument("--requests", type=int, default=3_000, metavar="N", help="requests in each measurement (3000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="workers of the proxy (2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="egressproxy-crowd-") as scratch:
        return 0 if run(options, Path(scratch)) else 1


if __name__ == "__main__":
    sys.exit(main())
