"""The effect of one client on other clients and on the administrator."""

from __future__ import annotations

import socket

from benchmarks.fairness import ATTACKS, LIMIT, measure
from tests.integration.base import ONE_PROCESS, IntegrationTestCase

ANSWERS = b"HTTP/1.1 400 "


class FairnessTests(IntegrationTestCase):
    """Attackers send as fast as possible, and another client is served nevertheless."""

    def test_eight_attackers(self) -> None:
        found = measure(sorted(ATTACKS), 8, 2.0)
        # The machine may be busy otherwise, so the absolute time limit is generous.
        for kind, times in found.items():
            with self.subTest(kind):
                self.assertLess(times.p99, max(1.0, LIMIT * found["none"].p99))
                self.assertLess(times.longest_health, 2.0)


class LastResponseTests(IntegrationTestCase):
    """A client that continues to send, and reads late, still receives the last response."""

    def test_data_after_a_fault(self) -> None:
        proxy = self.start_proxy(*self.allow_all(), *ONE_PROCESS)
        for attempt in range(20):
            with (
                self.subTest(attempt),
                socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client,
            ):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nbad field\r\n\r\n" + b"x" * 300_000)
                # The response is in the kernel's buffer by now, and a reset would discard it.
                client.sendall(b"x" * 300_000)
                self.assertTrue(client.recv(65536).startswith(ANSWERS))
