"""Bodies that are buffered for an authorizer share a memory budget."""

from __future__ import annotations

import select
import socket
import time

from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy

MIB = 1024 * 1024
BODIES = 400


class UnfinishedBodiesTests(IntegrationTestCase):
    """A client sends 400 bodies of 1 MiB, all but the last byte of each."""

    forked = False

    def send(self, proxy: Proxy, source: str) -> socket.socket:
        """Send the head of a request with 1 MiB of content."""
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=30, source_address=(source, 0))
        self.addCleanup(client.close)
        host = f"127.0.0.1:{self.origins.http}"
        client.sendall(f"POST http://{host}/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: {MIB}\r\n\r\n".encode())
        return client

    def push(self, clients: list[socket.socket], seconds: float) -> int:
        """Send as much as the proxy accepts.

        @return: the number of bytes sent.
        """
        left = dict.fromkeys(clients, MIB - 1)
        for client in clients:
            client.setblocking(False)
        end = time.monotonic() + seconds
        while left and time.monotonic() < end:
            for client in select.select([], list(left), [], 0.1)[1]:
                left[client] -= client.send(bytes(min(65536, left[client])))
                if not left[client]:
                    del left[client]
        return len(clients) * (MIB - 1) - sum(left.values())

    def test_memory(self) -> None:
        url, _ = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--body-memory", "32m", *ONE_PROCESS)
        self.assertEqual(self.fetch(proxy, self.origins.http_url("/echo"), "--data", "x")[0], 200)
        before = proxy.memory("VmRSS")
        self.push([self.send(proxy, "127.0.0.1") for _ in range(BODIES)], 8)
        grown = proxy.memory("VmRSS") - before
        # Half of the budget, and the memory of each connection, including one read of 16 KiB.
        self.assertLess(grown, 16 * MIB + BODIES * 96 * 1024)
        begin = time.monotonic()
        other = self.send(proxy, "127.0.0.2")
        other.sendall(bytes(MIB))
        self.assertEqual(other.recv(65536).split()[1], b"200")
        self.assertLess(time.monotonic() - begin, 5)
