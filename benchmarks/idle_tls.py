"""The memory of idle intercepted connections: 10,000 of them in one process, half of them with HTTP/2.

Run it with C{python -m benchmarks.idle_tls [--connections N]}, on Linux. Each connection has carried one request. The
figure is the growth of the proxy's resident memory, divided by the number of connections. At the end, each connection
carries another request. The proxy must keep all of them open, and must serve them with the correct content.

The proxy accepts about half as many connections as it may open descriptors, because each request needs a connection to
an origin, too. For 10,000 connections, the hard limit is raised if it is too low, for which the benchmark must run with
the capability C{CAP_SYS_RESOURCE}.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import ssl
import sys
import tempfile
import time
from bisect import bisect_left
from pathlib import Path
from typing import Final

import h2.config
import h2.connection
import h2.events

from benchmarks.idle_origin import TooFewDescriptors, raise_limit, serve
from egress.config.model import Limits
from egress.runtime.rlimits import clamp_to
from tests.certificates import TestCA
from tests.integration.base import ALLOW_ALL, Proxy
from tests.integration.processes import free_port

ORIGIN: Final = "127.0.0.2"
KIB: Final = 1024
# The connections of each client address, well below --max-connections-per-client.
_EACH: Final = 1000
_WARM_UP: Final = 100
_SETTLE: Final = 2.0
# More descriptors than any number of connections needs.
_MANY: Final = 1 << 20


def _respond(path: bytes) -> bytes:
    return path


# -- clients


class _Http1:
    """An intercepted connection with HTTP/1.1."""

    def __init__(self, sock: ssl.SSLSocket, authority: str) -> None:
        self._sock = sock
        self._authority = authority

    def get(self, path: str) -> bytes:
        """Send a request, and return the content of the response."""
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode("ascii"))
        response = b""
        while not response.endswith(path.encode("ascii")):
            data = self._sock.recv(4096)
            if not data:
                raise AssertionError(response)
            response += data
        return response.partition(b"\r\n\r\n")[2]


class _Http2:
    """An intercepted connection with HTTP/2."""

    def __init__(self, sock: ssl.SSLSocket, authority: str) -> None:
        self._sock = sock
        self._authority = authority
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()

    def get(self, path: str) -> bytes:
        """Send a request, and return the content of the response."""
        stream = self._h2.get_next_available_stream_id()
        fields = ((":method", "GET"), (":scheme", "https"), (":authority", self._authority), (":path", path))
        self._h2.send_headers(stream, fields, end_stream=True)
        content = b""
        while True:
            self._sock.sendall(self._h2.data_to_send())
            data = self._sock.recv(4096)
            if not data:
                raise AssertionError(content)
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    content += event.data or b""
                elif isinstance(event, h2.events.StreamEnded):
                    return content


class _Clients:
    """Opens connections through the proxy."""

    def __init__(self, proxy: Proxy, port: int) -> None:
        self._proxy = proxy.port
        self._authority = f"{ORIGIN}:{port}"
        self._contexts = {}
        for protocol in ("http/1.1", "h2"):
            context = self._contexts[protocol] = ssl.create_default_context(cafile=str(proxy.ca))
            context.set_alpn_protocols([protocol])
        self.opened: list[_Http1 | _Http2] = []

    def open(self, protocol: str) -> None:
        """Open a connection that has carried one request."""
        source = f"127.0.10.{1 + len(self.opened) // _EACH}"
        sock = socket.create_connection(("127.0.0.1", self._proxy), 60, (source, 0))
        sock.sendall(f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode("ascii"))
        head = sock.recv(4096)
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(head)
        inside = self._contexts[protocol].wrap_socket(sock, server_hostname=ORIGIN)
        if inside.selected_alpn_protocol() != protocol:
            raise AssertionError(inside.selected_alpn_protocol())
        kind = _Http2 if protocol == "h2" else _Http1
        self.opened.append(kind(inside, self._authority))
        self._check(len(self.opened) - 1)

    def check_all(self) -> None:
        """Send a request over each connection."""
        for number in range(len(self.opened)):
            self._check(number)

    def _check(self, number: int) -> None:
        path = f"/number/{number}"
        content = self.opened[number].get(path)
        if content != path.encode("ascii"):
            raise AssertionError(content)


def _resident(proxy: Proxy) -> int:
    time.sleep(_SETTLE)
    return proxy.memory("VmRSS")


def descriptors_for(connections: int) -> int:
    """Return the number of descriptors with which a proxy accepts a number of connections.

    @raise TooFewDescriptors: if it accepts fewer connections with any number of descriptors.
    """
    limits = Limits()
    if connections > limits.connections:
        raise TooFewDescriptors(f"the proxy accepts at most {limits.connections} connections by default")
    return bisect_left(range(_MANY), connections, key=lambda count: clamp_to(limits, count).connections)


def run(connections: int, directory: Path) -> None:
    """Measure, and print a line for each kind of connection."""
    raise_limit(descriptors_for(connections + _WARM_UP))
    ca = TestCA("Idle connections")
    certificate, key = ca.issue(ORIGIN).write(directory, "origin")
    port = free_port(ORIGIN)
    fork = multiprocessing.get_context("fork")
    origin = fork.Process(target=serve, args=(_respond, {ORIGIN: port}, str(certificate), str(key)), daemon=True)
    origin.start()
    policy = directory / "policy.toml"
    policy.write_text(ALLOW_ALL, "utf-8")
    proxy = Proxy(
        directory,
        *("--policy", str(policy), "--ssl-extra-ca-certs", str(ca.write(directory, "origins-ca"))),
        *("--allow-address", "127.0.0.0/8", "--idle-timeout", "1h"),
    )
    try:
        clients = _Clients(proxy, port)
        for number in range(_WARM_UP):
            clients.open(("http/1.1", "h2")[number % 2])
        begin = before = _resident(proxy)
        half = connections // 2
        for protocol in ("http/1.1", "h2"):
            for _ in range(half):
                clients.open(protocol)
            after = _resident(proxy)
            print(f"{half} idle connections with {protocol}: {(after - before) / half / KIB:.1f} KiB each", flush=True)
            before = after
        print(f"{2 * half} idle connections: {(before - begin) / half / 2 / KIB:.1f} KiB each", flush=True)
        clients.check_all()
        print(f"all {len(clients.opened)} connections carry another request", flush=True)
    finally:
        proxy.process.stop(60)
        origin.kill()
        origin.join()


def main() -> int:
    """Run the command line.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle_tls", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, metavar="N", help="idle connections (10000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="egressproxy-idle-") as scratch:
        try:
            run(options.connections, Path(scratch))
        except TooFewDescriptors as error:
            parser.error(f"argument --connections: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
