"""The audit store on a full disk, which is a small file system in memory."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.integration.base import IntegrationTestCase, Proxy, run_egress
from tests.integration.processes import free_port


class FullDiskTests(IntegrationTestCase):
    """What a proxy does is what C{--audit-failure} says, and it loses no record that it does not report."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = self.directory / "disk"
        self.disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "egress-test", str(self.disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise SkipTest("this user cannot mount a file system")
        self.addCleanup(subprocess.run, ["umount", str(self.disk)], check=True)
        self.location = f"sqlite:{self.disk / 'audit.db'}"
        self.url = self.origins.http_url("/files/hello.txt")
        self.port = free_port()

    def start(self, *options: str) -> Proxy:
        """Start a proxy, which has written one record."""
        proxy = self.start_proxy(
            *self.allow_all(), "--audit-store", self.location, "--metrics-port", str(self.port), *options
        )
        self.assertEqual(self.fetch(proxy, self.url), (200, "hello\n"))
        self.wait_until(lambda: len(self.stored()) == 1, "the first record is stored")
        # The maintenance of the store follows.
        self.wait_until(lambda: self.metric("egress_audit_store_queued") == 0, "no record waits")
        return proxy

    def fill(self) -> Path:
        """Fill the disk."""
        path = self.disk / "other"
        with path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
        return path

    def stored(self) -> dict[str, Any]:
        """Return the records of the store."""
        done = run_egress("logs", "export", "jsonl", "--audit-store", self.location)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        records = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len({record["requestId"] for record in records}), len(records))
        return {record["requestId"]: record for record in records}

    def metric(self, name: str) -> float:
        """Return a metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as page:
            lines = page.read().decode("utf-8").splitlines()
        (value,) = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
        return float(value)

    def assert_complete(self, proxy: Proxy, number: int) -> None:
        """Check that the store has the records of the audit log, which is on another disk."""
        logged = {record["requestId"]: record for record in self.records(proxy, number)}
        self.wait_until(lambda: len(self.stored()) == number, "all records are stored")
        self.assertEqual(self.stored(), logged)
        self.assertEqual(self.metric("egress_audit_lines_lost_total"), 0)

    def test_continue(self) -> None:
        """Requests are forwarded, and their records are stored when the disk has space again."""
        proxy = self.start()
        filler = self.fill()
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, self.url), (200, "hello\n"))
        self.wait_until(lambda: "database or disk is full" in proxy.process.output(), "the log has the error")
        self.assertEqual(self.fetch(proxy, self.url), (200, "hello\n"))
        self.assertEqual(len(self.stored()), 1)
        os.unlink(filler)
        self.assert_complete(proxy, 5)
        self.wait_until(lambda: "records are written again; 0 records lost" in proxy.process.output())

    def test_deny(self) -> None:
        """Requests are rejected until records can be written; the records of both are stored later."""
        proxy = self.start("--audit-failure", "deny")
        statuses = [200]

        def fetch() -> int:
            statuses.append(self.fetch(proxy, self.url)[0])
            return statuses[-1]

        filler = self.fill()
        # The record of this one request cannot be written.
        self.assertEqual(fetch(), 200)
        self.wait_until(lambda: fetch() == 503, "a request is rejected")
        problem = self.assert_problem(proxy, self.url, 503, "audit")
        self.assertEqual(problem["type"], "urn:egressproxy:audit-unavailable")
        self.assertEqual(len(self.stored()), 1)
        os.unlink(filler)
        self.wait_until(lambda: fetch() == 200, "a request is forwarded again")
        self.assert_complete(proxy, len(statuses) + 1)
        found = sorted(record["status"] for record in proxy.records())
        self.assertEqual(found, sorted([*statuses, 503]))

    def test_stop(self) -> None:
        """A proxy that stops while the disk is full reports the number of lost records."""
        proxy = self.start()
        filler = self.fill()
        for _ in range(3):
            self.fetch(proxy, self.url)
        self.wait_until(lambda: "database or disk is full" in proxy.process.output(), "the log has the error")
        proxy.process.stop()
        self.assertIn("; 0 records wait, 3 records lost in total", proxy.process.output())
        os.unlink(filler)
        self.assertEqual(len(self.stored()), 1)
