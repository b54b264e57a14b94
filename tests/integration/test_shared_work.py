"""Resources that clients share: lookups, password checks and file reloads do not block each other."""

from __future__ import annotations

import base64
import socket
import time

from tests.integration.base import ALLOW_ALL, ONE_PROCESS, Proxy
from tests.integration.test_client_auth import PASSWORD, ClientAuthTestCase

# A name server that never responds, simulated inside the program.
HANGING = """
import socket, time
found = socket.getaddrinfo
def getaddrinfo(host, *arguments, **named):
    if host.endswith(b".hang.test" if isinstance(host, bytes) else ".hang.test"):
        time.sleep(120)
    return found(host, *arguments, **named)
socket.getaddrinfo = getaddrinfo
"""
NAMES = 60
# An attacker, and another client.
ATTACKER, OTHER = "127.0.0.1", "127.0.0.2"


class HangingNamesTests(ClientAuthTestCase):
    """A client requests 60 names for which no name server responds."""

    # The code replaces a function before other modules import it.
    forked = False

    def send(self, proxy: Proxy, source: str, url: str, authorization: str) -> socket.socket:
        """Send a request from a local address."""
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=30, source_address=(source, 0))
        self.addCleanup(client.close)
        host = url.split("/")[2]
        head = (
            f"GET {url} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {authorization}\r\nConnection: close\r\n\r\n"
        )
        client.sendall(head.encode())
        return client

    def status(self, proxy: Proxy, url: str, authorization: str) -> tuple[int, float]:
        """Send a request from another address.

        @return: the status code, and the response time in seconds.
        """
        begin = time.monotonic()
        answer = self.send(proxy, OTHER, url, authorization).recv(65536)
        return int(answer.split()[1]), time.monotonic() - begin

    def test_nothing_else_is_delayed(self) -> None:
        policy = self.write("policy.toml", ALLOW_ALL)
        options = ("--policy", str(policy), "--client-auth", str(self.clients), "--drain-timeout", "500ms")
        proxy = self.start_proxy(*options, *ONE_PROCESS, first=HANGING)
        token = f"Bearer {self.token}"
        url = f"http://localhost:{self.origins.http}/echo"
        for number in range(NAMES):
            self.send(proxy, ATTACKER, f"http://n{number}.hang.test/", token)
        status, seconds = self.status(proxy, url, token)
        self.assertEqual(status, 200)
        self.assertLess(seconds, 2, "a lookup waited")

        password = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        status, seconds = self.status(proxy, url, password)
        self.assertEqual(status, 200)
        self.assertLess(seconds, 5, "a password waited")

        begin = time.monotonic()
        policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "revoked"\n', "utf-8")
        while self.status(proxy, url, token)[0] != 403:
            self.assertLess(time.monotonic() - begin, 8, "a reading waited")
            time.sleep(0.1)

        begin = time.monotonic()
        proxy.process.stop()
        self.assertLess(time.monotonic() - begin, 8, "the end of the process waited")
