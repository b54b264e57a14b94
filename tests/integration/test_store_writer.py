"""The process that writes the audit store of a real proxy."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.base import ENOUGH_FOR_BOTH, IntegrationTestCase, Proxy, children, run_egress
from tests.integration.processes import free_port
from tests.integration.test_audit_spool import Load


class StoreWriterTests(IntegrationTestCase):
    """No record is lost or stored twice, and no process remains, however either of the two ends."""

    def setUp(self) -> None:
        super().setUp()
        self.location = f"sqlite:{self.directory / 'audit.db'}"
        self.url = self.origins.http_url("/files/hello.txt?token=hunter2")
        self.port = free_port()

    def start(self) -> Proxy:
        """Start a proxy whose processes have written records."""
        proxy = self.start_proxy(*self.allow_all(), "--audit-store", self.location, "--metrics-port", str(self.port))
        expected = max(1, len(proxy.workers))
        load = Load(proxy, self.url, ENOUGH_FOR_BOTH)
        self.addCleanup(load.stop)
        self.wait_until(lambda: len(self.writers(proxy)) == expected, "each process of the proxy has a writer")
        self.load = load
        return proxy

    def writers(self, proxy: Proxy) -> list[int]:
        """Return the writers of a proxy, or of its workers."""
        found = [pid for parent in (proxy.pid, *children(proxy.pid)) for pid in children(parent)]
        return [pid for pid in found if "egress.store.writer_program" in self.of(pid, "cmdline")]

    def of(self, pid: int, name: str) -> str:
        """Return a file of a process; an empty text if it has ended."""
        try:
            return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
        except OSError:
            return ""

    def stored(self) -> list[dict[str, Any]]:
        """Return the records of the store."""
        done = run_egress("logs", "export", "jsonl", "--audit-store", self.location)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def assert_complete(self, proxy: Proxy, number: int) -> None:
        """Check that the store has the records of the audit log, each of them once."""
        logged = {record["requestId"]: record for record in self.records(proxy, number)}
        self.wait_until(lambda: len(self.stored()) >= number, "all records are stored")
        stored = self.stored()
        self.assertEqual((len(stored), {record["requestId"]: record for record in stored}), (number, logged))

    def test_killed(self) -> None:
        """The writer is killed while clients send requests, and later the proxy."""
        proxy = self.start()
        killed = self.writers(proxy)
        before = self.load.responses
        self.wait_until(lambda: self.load.responses > before + 200)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        writers: list[int] = []

        def others_run() -> bool:
            # A killed process remains visible for a moment.
            writers[:] = [pid for pid in self.writers(proxy) if pid not in killed]
            return len(writers) == len(killed)

        self.wait_until(others_run, "other writers run")
        # A terminal or a process manager sends these to the whole group, also while a writer starts.
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for pid in writers:
                os.kill(pid, signal_number)
        number = self.load.stop()
        self.assert_complete(proxy, number)
        self.assertEqual(self.writers(proxy), writers)
        self.assertIn("the writer process was killed by SIGKILL", proxy.process.output())
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as page:
            self.assertIn(b"egress_audit_lines_lost_total 0.0\n", page.read())
        for pid in writers:
            self.assert_small(pid)
        for pid in proxy.pids:
            if pid not in writers:
                os.kill(pid, signal.SIGKILL)
        proxy.process.popen.wait()
        self.wait_until(lambda: not any(self.of(pid, "cmdline") for pid in writers), "the writers end")
        self.assertEqual(len(self.stored()), number)

    def assert_small(self, pid: int) -> None:
        """Check that a writer has neither a listening socket nor a connection of a client, and little memory."""
        found = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        self.assertEqual(len([name for name in found if name.startswith("socket:")]), 1, found)
        self.assertNotIn("EGRESS_", self.of(pid, "environ"))
        memory = re.search(r"VmRSS:\s+(\d+) kB", self.of(pid, "status"))
        assert memory is not None
        self.assertLess(int(memory[1]), 60_000)
