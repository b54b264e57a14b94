"""The cost of opaque tunnels: CPU seconds per GiB in each direction, memory per idle tunnel, and setup time.

Run it with C{python benchmarks/tunnels.py [--before CODE] [--reactor NAME] [bulk] [idle] [setup]}, on Linux.  For each
measurement, it starts a proxy with 127.0.0.1 as passthrough host.  The origin and the clients use plain sockets in
separate processes, so that only the time and memory of the proxy count.  C{--before} is Python code that the proxy runs
first, which can select the relay.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
GIB = 1 << 30
BLOCK = 1 << 20
RUN = "from twisted.scripts.twistd import run; run()"


def serve(listener: socket.socket) -> None:
    """An origin: the first byte says whether it sends (D), takes (U) or repeats (E)."""
    block = bytes(BLOCK)
    while True:
        sock, _ = listener.accept()
        if os.fork():
            sock.close()
            continue
        kind = sock.recv(1)
        if kind == b"D":
            size = int.from_bytes(sock.recv(8), "big")
            while size > 0:
                size -= sock.send(memoryview(block)[: min(size, BLOCK)])
        elif kind == b"U":
            buffer = bytearray(BLOCK)
            while sock.recv_into(buffer):
                pass
            sock.sendall(b"!")
        os._exit(0)


def repeat(listener: socket.socket) -> None:
    """An origin for many connections with little traffic."""
    poll = select.epoll()
    listener.setblocking(False)
    poll.register(listener, select.EPOLLIN)
    socks: dict[int, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                sock, _address = listener.accept()
                socks[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
            else:
                data = socks[number].recv(65536)
                if data:
                    socks[number].sendall(data)
                else:
                    poll.unregister(number)
                    socks.pop(number).close()


@contextmanager
def origin(target: object) -> Iterator[int]:
    """Start an origin.

    @return: its port.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = multiprocessing.get_context("fork").Process(target=target, args=(listener,), daemon=True)  # type: ignore[arg-type]
    process.start()
    yield listener.getsockname()[1]
    process.kill()
    process.join()


@contextmanager
def proxy(before: str, reactor: str) -> Iterator[tuple[int, int]]:
    """Start a proxy.

    @return: its process and its port.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        policy = Path(directory) / "policy.toml"
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        options = [
            "--listen",
            f"tcp:{port}:interface=127.0.0.1",
            "--ca-dir",
            f"{directory}/ca",
            "--policy",
            str(policy),
        ]
        options += ["--passthrough", "127.0.0.1", "--allow-address", "127.0.0.0/8"]
        command = [sys.executable, "-c", f"{before}\n{RUN}", "-n", "--pidfile=", "-r", reactor, "egressproxy", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (Path(directory) / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                command, stdout=log, stderr=log, cwd=directory, env=environment
            )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait()
            text = (Path(directory) / "log").read_text()
            if "Traceback" in text:
                print(text)


def tunnel(port: int, to: int) -> socket.socket:
    """Open a tunnel to an origin."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (to, to))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(4096)
    return sock


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str = "VmRSS") -> int:
    """Return the memory of a process in KiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1])


def bulk(pid: int, port: int, size: int) -> None:
    """Measure CPU time per GiB in each direction."""
    with origin(serve) as to:
        for kind in ("download", "upload"):
            sock = tunnel(port, to)
            spent, began = cpu(pid), time.monotonic()
            if kind == "download":
                sock.sendall(b"D" + size.to_bytes(8, "big"))
                buffer, left = bytearray(BLOCK), size
                while taken := sock.recv_into(buffer):
                    left -= taken
            else:
                sock.sendall(b"U")
                block, left = bytes(BLOCK), size
                while left > 0:
                    left -= sock.send(memoryview(block)[: min(left, BLOCK)])
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(10) == b"!"
            assert left == 0, left
            spent, took = cpu(pid) - spent, time.monotonic() - began
            sock.close()
            print(f"{kind:8} {spent * GIB / size:.2f} CPU-s/GiB, {size / GIB / took:.2f} GiB/s, ", end="")
            print(f"peak {memory(pid, 'VmHWM')} KiB")


def idle(pid: int, port: int, count: int, each: int) -> None:
    """Measure RSS per idle tunnel, after each has carried a little data."""
    with origin(repeat) as to:
        data = bytes(range(256)) * 2
        tunnels = []

        def use(sock: socket.socket) -> None:
            for _ in range(each // len(data)):
                sock.sendall(data)
                left = len(data)
                while left:
                    left -= len(sock.recv(left))

        for _ in range(20):
            with tunnel(port, to) as sock:
                use(sock)
        time.sleep(0.5)
        before, pipes = memory(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))
        for _ in range(count):
            tunnels.append(tunnel(port, to))
            use(tunnels[-1])
        time.sleep(0.5)
        after, held = memory(pid), len(list(Path(f"/proc/{pid}/fd").iterdir())) - pipes
        print(f"idle     {(after - before) / count:.2f} KiB each of {count}, {held} descriptors")


def setup(pid: int, port: int, count: int) -> None:
    """Measure time and CPU time of a tunnel with one small message in each direction."""
    with origin(repeat) as to:
        times = []
        for number in range(count + 100):
            if number == 100:
                spent = cpu(pid)
            began = time.perf_counter()
            sock = tunnel(port, to)
            sock.sendall(b"hello")
            sock.recv(100)
            times.append(time.perf_counter() - began)
            sock.close()
        time.sleep(0.2)
        spent = cpu(pid) - spent
        print(f"setup    {statistics.median(times[100:]) * 1e6:.0f} us median, {spent / count * 1e6:.0f} us of CPU")


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["bulk", "idle", "setup"])
    parser.add_argument("--before", default="")
    parser.add_argument("--reactor", default="epoll")
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--tunnels", type=int, default=1000)
    parser.add_argument("--each", type=int, default=1024)
    arguments = parser.parse_args()
    for what in arguments.what:
        with proxy(arguments.before, arguments.reactor) as (pid, port):
            if what == "bulk":
                bulk(pid, port, int(arguments.gib * GIB))
            elif what == "idle":
                idle(pid, port, arguments.tunnels, arguments.each)
            else:
                setup(pid, port, 2000)


if __name__ == "__main__":
    main()
