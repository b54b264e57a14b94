"""The response times of one client while other clients attack: C{python -m benchmarks.fairness}.

A proxy process forwards the requests of one client, first without other clients, then while attackers send on their own
connections as fast as they can.  Each attack is measured for a bounded time.  The client sends one request at a time,
every second one on a new connection, and sometimes a request for C{/health/live}.  The proxy runs on one core;
everything else shares the other cores.

The figure is the 99th percentile of the response time, and its ratio to the value without an attack.
"""

# ruff: noqa: S603 -- it starts only programs of the benchmark

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.origins import free_port, wait_for_port

TREE = Path(__file__).resolve().parents[1]
LIMIT = 20.0
"""The maximum ratio."""
_HEALTH_EVERY = 20
_BLOCK = 64 * 1024
_PATIENCE = 60.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

_POLICY = """\
version = 1

[[rules]]
name = "origin"
hosts = ["127.0.0.1"]
ports = [{port}]
action = "allow"
"""


def _denied(port: int) -> bytes:
    return f"GET http://192.0.2.1/ HTTP/1.1\r\nHost: 192.0.2.1:{port}\r\n\r\n".encode()


def _forwarded(port: int) -> bytes:
    return f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def _chunks(port: int) -> bytes:
    return b"1\r\na\r\n"


def _upload_head(port: int) -> bytes:
    head = f"POST http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode()


ATTACKS = {
    "denied": (None, _denied),
    "forwarded": (None, _forwarded),
    "chunks": (_upload_head, _chunks),
}
"""The bytes that an attacker sends once, and the bytes that it repeats."""


@dataclass(frozen=True)
class Times:
    """The durations of requests in seconds, in ascending order."""

    requests: tuple[float, ...]
    health: tuple[float, ...]

    @classmethod
    def of(cls, requests: Sequence[float], health: Sequence[float]) -> Times:
        """Sort the durations."""
        return cls(tuple(sorted(requests)), tuple(sorted(health)))

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.requests)

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return self.requests[min(len(self.requests) - 1, len(self.requests) * 99 // 100)]

    @property
    def longest_health(self) -> float:
        """The longest response time of C{/health/live}."""
        return self.health[-1]


# -- the environment


def serve(port: int) -> None:
    """Run an origin that responds to every request immediately, and never to an upload."""
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    listening.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                accepted, _ = listening.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
                continue
            assert isinstance(key.fileobj, socket.socket)
            try:
                data = key.fileobj.recv(_BLOCK)
                answers = 0 if b"POST " in data else data.count(b"GET ")
                if data and answers:
                    key.fileobj.sendall(_ANSWER * answers)
            except OSError:
                data = b""
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def attack(kind: str, proxy: int, origin: int, count: int) -> None:
    """Run a number of attackers, which send as fast as the proxy reads, and discard the responses."""
    first, repeated = ATTACKS[kind]
    block = repeated(origin) * (_BLOCK // len(repeated(origin)))
    selector = selectors.DefaultSelector()
    for _ in range(count):
        made = socket.create_connection(("127.0.0.1", proxy))
        if first is not None:
            made.sendall(first(origin))
        made.setblocking(False)
        selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE, [block])
    print("attacking", flush=True)
    while True:
        for key, events in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                if events & selectors.EVENT_READ:
                    key.fileobj.recv(_BLOCK)
                if events & selectors.EVENT_WRITE:
                    sent = key.fileobj.send(key.data[0])
                    # Send the rest next, so that requests stay complete.
                    key.data[0] = key.data[0][sent:] or block


def _read_answer(wire: socket.socket) -> None:
    data = b""
    while not data.endswith((b"\r\n\r\nok", b"}\n")):
        more = wire.recv(_BLOCK)
        if not more:
            raise ConnectionError("no answer")
        data += more
    if not data.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(data.partition(b"\r\n")[0].decode("latin-1"))


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)


def ask(proxy: int, origin: int, metrics: int, seconds: float) -> Times:
    """Run the client for a number of seconds."""
    requests: list[float] = []
    health: list[float] = []
    end = time.monotonic() + seconds
    kept = _connected(proxy)
    with kept:
        while time.monotonic() < end:
            began = time.perf_counter()
            if len(requests) % 2:
                with _connected(proxy) as wire:
                    wire.sendall(_forwarded(origin))
                    _read_answer(wire)
            else:
                kept.sendall(_forwarded(origin))
                _read_answer(kept)
            requests.append(time.perf_counter() - began)
            if len(requests) % _HEALTH_EVERY == 1:
                began = time.perf_counter()
                with _connected(metrics) as wire:
                    wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                    _read_answer(wire)
                health.append(time.perf_counter() - began)
            time.sleep(0.002)
    return Times.of(requests, health)


@contextlib.contextmanager
def started(arguments: Sequence[str], core: int | None, log: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block."""
    out = subprocess.PIPE if log is None else log.open("wb")
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=TREE, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
    )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        yield process
    finally:
        process.kill()
        process.wait()


def measure(kinds: Sequence[str], attackers: int, seconds: float) -> dict[str, Times]:
    """Measure without an attack, then under each kind."""
    cores = sorted(os.sched_getaffinity(0))
    own, other = (cores[0], cores[-1]) if len(cores) > 1 else (None, None)
    origin, proxy, metrics = free_port(), free_port(), free_port()
    found: dict[str, Times] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        (directory / "policy.toml").write_text(_POLICY.format(port=origin), encoding="utf-8")
        behind = stack.enter_context(started(["-m", "benchmarks.fairness", "serve", str(origin)], other))
        wait_for_port(origin, behind, "the origin")
        options = [
            *("--policy", str(directory / "policy.toml"), "--ca-dir", str(directory / "ca")),
            *("--allow-address", "127.0.0.0/8"),
            *("--listen", f"tcp:{proxy}:interface=127.0.0.1", "--metrics-port", str(metrics)),
        ]
        program = ["-m", "twisted", "egressproxy", *options]
        before = stack.enter_context(started(program, own, directory / "proxy.log"))
        wait_for_port(proxy, before, "the proxy")
        ask(proxy, origin, metrics, min(1.0, seconds))
        found["none"] = ask(proxy, origin, metrics, seconds)
        for kind in kinds:
            arguments = ["-m", "benchmarks.fairness", "attack", kind, str(proxy), str(origin), str(attackers)]
            with started(arguments, other) as attacking:
                assert attacking.stdout is not None
                attacking.stdout.readline()
                # The rest of the output is not read, because the attackers print nothing else.
                time.sleep(0.5)
                found[kind] = ask(proxy, origin, metrics, seconds)
    return found


def table(found: dict[str, Times]) -> list[str]:
    """The figures as a table."""
    lines = ["| Attack | Median | p99 | Ratio | Slowest `/health/live` |", "| --- | --- | --- | --- | --- |"]
    alone = found["none"].p99
    for kind, times in found.items():
        figures = [f"{1000 * value:.1f} ms" for value in (times.median, times.p99)]
        ratio, health = f"{times.p99 / alone:.1f}", f"{1000 * times.longest_health:.1f} ms"
        lines.append(f"| {kind} | {figures[0]} | {figures[1]} | {ratio} | {health} |")
    return lines


def passed(found: dict[str, Times]) -> bool:
    """Whether every attack stays within L{LIMIT}."""
    return all(times.p99 <= LIMIT * found["none"].p99 for times in found.values())


def main(arguments: Sequence[str]) -> int:
    """Measure, and print the table.

    @return: 1 if a ratio exceeds the limit.
    """
    if arguments[:1] == ["serve"]:
        serve(int(arguments[1]))
    if arguments[:1] == ["attack"]:
        attack(arguments[1], *(int(number) for number in arguments[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__, allow_abbrev=False)
    parser.add_argument("--attackers", type=int, default=8, metavar="N", help="connections that attack (8)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="duration of each measurement (10)")
    parser.add_argument("--attacks", nargs="+", choices=sorted(ATTACKS), default=sorted(ATTACKS))
    options = parser.parse_args(arguments)
    found = measure(options.attacks, options.attackers, options.seconds)
    print("\n".join(table(found)))
    return 0 if passed(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
