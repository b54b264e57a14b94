"""Listeners behind a load balancer that speaks the PROXY protocol, with one process and with workers."""

from __future__ import annotations

import socket

from tests.http.test_proxy_header import V1, V6
from tests.integration.base import IntegrationTestCase
from tests.integration.processes import free_port
from tests.integration.raw_origin import Wire


class ProxyProtocolTests(IntegrationTestCase):
    """The client of a record is the client in the header."""

    def test_records(self) -> None:
        for workers in ("1", "2"):
            with self.subTest(workers=workers):
                self.balance("--workers", workers)

    def balance(self, *options: str) -> None:
        """Send two requests, in clear text and through a tunnel, as a load balancer does."""
        port = free_port()
        listen = f"haproxy:tcp:{port}:interface=127.0.0.1"
        proxy = self.start_proxy("--listen", listen, *options, *self.allow_all())
        origin = f"127.0.0.1:{self.origins.http}"
        get = f"GET {{}}/files/hello.txt HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port)) as connection:
            client = Wire(connection)
            client.send(V1 + get.format(f"http://{origin}").encode())
            self.assertTrue(client.read_to_end().endswith(b"hello\n"))
        with socket.create_connection(("127.0.0.1", port)) as connection:
            client = Wire(connection)
            client.send(V6)
            client.send(f"CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n")
            client.read_until(b"\r\n\r\n")
            client.send(get.format(""))
            self.assertTrue(client.read_to_end().endswith(b"hello\n"))
        with socket.create_connection(("127.0.0.1", port)) as connection:
            client = Wire(connection)
            client.send(get.format(f"http://{origin}"))
            self.assertEqual(client.read_to_end(), b"")
        clients = [record["client"] for record in self.records(proxy, 2)]
        self.assertEqual(clients, ["198.51.100.7:40000", "[2001:db8::7]:40001"])
