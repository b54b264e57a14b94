"""Exhausted resources: file descriptors, and disk space for the audit log."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time

from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy
from tests.integration.raw_origin import Wire

FILE_SIZE = 8 * 1024 * 1024
FEW_DESCRIPTORS = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
# As on a full disk: the file accepts no more data.
SMALL_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_SIZE}, {FILE_SIZE}))"


class DescriptorTests(IntegrationTestCase):
    """The limit is 256 descriptors."""

    def test_more_clients_than_descriptors(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), *ONE_PROCESS, first=FEW_DESCRIPTORS)
        url = self.origins.https_url("/echo")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        # One client address may use a quarter of the connections.
        clients = [self.connect(proxy, f"127.0.0.{1 + number % 10}") for number in range(150)]
        self.records(proxy, 1 + 150 - 96)
        # As on a busy machine: the requests reach the proxy together with the ends of the rejected connections.
        os.kill(proxy.pid, signal.SIGSTOP)
        answers = self.turned_away(clients, 150 - 96)
        self.assertEqual(len(answers), 150 - 96)
        for answer in answers:
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertEqual(json.loads(answer.partition(b"\r\n\r\n")[2])["type"], "urn:egressproxy:overloaded")
        # The connections within the limit are served, each with its own connection to the origin.
        held = [client for client in clients if client.fileno() >= 0]
        for client in held:
            client.sendall(
                f"GET {self.origins.http_url('/echo')} HTTP/1.1\r\nHost: 127.0.0.1:{self.origins.http}\r\n\r\n".encode()
            )
        os.kill(proxy.pid, signal.SIGCONT)
        for client in held:
            answer = client.recv(65536)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        for client in held:
            client.close()
        self.assertEqual(self.fetch(proxy, url)[0], 200)

    def test_one_client_cannot_use_all(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), *ONE_PROCESS, first=FEW_DESCRIPTORS)
        answers = self.turned_away([self.connect(proxy, "127.0.0.2") for _ in range(150)], 150 - 24)
        self.assertEqual({answer.partition(b"\r\n")[0].split()[1] for answer in answers}, {b"429"})
        self.assertEqual(len(answers), 150 - 24)
        self.assertEqual(self.fetch(proxy, self.origins.http_url("/echo"))[0], 200)

    def connect(self, proxy: Proxy, source: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=20, source_address=(source, 0))
        self.addCleanup(client.close)
        return client

    def turned_away(self, clients: list[socket.socket], number: int) -> list[bytes]:
        """Wait for the responses that rejected connections get before any request; each announces Connection: close."""
        answers: list[bytes] = []
        deadline = time.monotonic() + 20
        while len(answers) < number and time.monotonic() < deadline:
            waiting = [client for client in clients if client.fileno() >= 0]
            for client in select.select(waiting, [], [], 0.1)[0]:
                # The response may arrive in two parts, and a reset may follow it.
                head, content = Wire(client).read_message()
                answers.append(head.encode("latin-1") + content)
                client.close()
        return answers


class FullDiskTests(IntegrationTestCase):
    """The file of the audit log accepts no more data."""

    def start(self, failure: str) -> Proxy:
        path = self.directory / "full.jsonl"
        with path.open("wb") as file:
            file.truncate(FILE_SIZE - 10)
        options = ("--audit-log", str(path), "--audit-failure", failure)
        return self.start_proxy(*self.allow_all(), *ONE_PROCESS, *options, first=SMALL_FILES)

    def test_denied_until_there_is_space(self) -> None:
        proxy = self.start("deny")
        url = self.origins.https_url("/echo")
        self.assertEqual(self.fetch(proxy, url)[0], 200, "nothing was known yet")
        for _ in range(2):
            problem = self.assert_problem(proxy, url, 503, "audit")
            self.assertEqual(problem["type"], "urn:egressproxy:audit-unavailable")
        path = self.directory / "full.jsonl"
        path.rename(self.directory / "moved.jsonl")
        # Within a second the file is created again, and one more denied request detects that.
        statuses = []
        while 200 not in statuses:
            statuses.append(self.fetch(proxy, url)[0])
            self.assertLess(len(statuses), 1000)
        self.assertEqual(set(statuses), {503, 200})
        # A record is written at the end of the exchange, after the response.
        outcomes: list[str] = []
        deadline = time.monotonic() + 20
        while len(outcomes) < 2 and time.monotonic() < deadline:
            outcomes = [json.loads(line)["outcome"] for line in path.read_text("utf-8").splitlines()]
        self.assertEqual(outcomes, ["audit-unavailable", "forwarded"])

    def test_continued(self) -> None:
        proxy = self.start("continue")
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, self.origins.https_url("/echo"))[0], 200)
