"""A proxy that is killed and restarted."""

from __future__ import annotations

import os
import signal
import time

from tests.integration.base import Proxy, proxy_environment, start_of
from tests.integration.processes import Process
from tests.integration.raw_origin import RawOriginTestCase


class KilledTests(RawOriginTestCase):
    """SIGKILL leaves nothing that needs to be cleaned up."""

    def start_again(self, proxy: Proxy) -> None:
        """Restart a proxy immediately with the same arguments, as a process manager does."""
        arguments = list(map(str, proxy.process.popen.args))
        start = start_of({}, arguments)
        process = Process(arguments, proxy.directory, "again", proxy_environment(), start=start)
        self.addCleanup(self.stop_cleanly, process)
        process.wait_for_port(proxy.port)

    def test_during_a_request(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        url = self.origins.https_url("/files/hello.txt")
        self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        before, ca = self.lines(proxy, 1), proxy.ca.read_bytes()
        client = self.connect(proxy)
        target = self.origins.http_url("/sink")
        client.send(f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.origins.http}\r\nContent-Length: 10\r\n\r\nhalf")
        workers = proxy.workers
        os.kill(proxy.pid, signal.SIGKILL)
        proxy.process.popen.wait()
        self.assertEqual(client.read_to_end(), b"", "the client sees that nothing came of it")
        self.wait_until_gone(workers)
        self.start_again(proxy)
        self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        self.assertEqual(proxy.ca.read_bytes(), ca, "clients trust it already")
        after = self.lines(proxy, 2)
        self.assertEqual(after[0], before[0])

    def lines(self, proxy: Proxy, number: int) -> list[dict[str, object]]:
        """Wait for this many records of forwarded requests; the last record is written just after its response.

        A worker that outlives its parent for a moment records that it aborted the other request.
        """
        deadline = time.monotonic() + 20
        records: list[dict[str, object]] = []
        while len(records) < number and time.monotonic() < deadline:
            time.sleep(0.02)
            records = [record for record in proxy.records() if record["outcome"] == "forwarded"]
        self.assertEqual(len(records), number)
        return records

    def wait_until_gone(self, pids: list[int]) -> None:
        """Wait until the workers end: within a second after their parent, releasing its port."""
        deadline = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
