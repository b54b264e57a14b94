"""The audit store in a real PostgreSQL that is killed under load, or away when a proxy starts or ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import psycopg

from tests.integration.base import (
    ENOUGH_FOR_BOTH,
    IntegrationTestCase,
    Proxy,
    proxy_environment,
    run_egress,
    start_of,
)
from tests.integration.postgresql import PASSWORD, server
from tests.integration.processes import Process, free_port, ready_checks

# The seconds after which a record survives the end of the proxy: twice the documented time, for a machine that is busy.
SURVIVES_AFTER = 1.0


class Load:
    """Clients that send requests through a proxy, each one after the response to the last one.

    @ivar done: the number of responses of each client.
    """

    def __init__(self, proxy: Proxy, url: str, clients: int) -> None:
        self.done = [0] * clients
        self._proxy = proxy
        self._url = url
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=30)
        while not self._stopping:
            connection.request("GET", self._url)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise AssertionError(response.status)
            self.done[number] += 1
        connection.close()

    @property
    def responses(self) -> int:
        """The number of all responses."""
        return sum(self.done)

    def stop(self) -> int:
        """Stop the clients, and return the number of all responses."""
        self._stopping = True
        for thread in self._threads:
            thread.join()
        return self.responses


class AuditSpoolTests(IntegrationTestCase):
    """No record is lost, and none is stored twice, whichever side is restarted."""

    def setUp(self) -> None:
        super().setUp()
        self.server = server()
        self.location = self.server.url(self.server.create_database())
        self.environ: dict[str, Any] = {"EGRESS_AUDIT_STORE": self.location, "EGRESS_AUDIT_STORE_PASSWORD": PASSWORD}
        # A test that fails must not leave the server stopped.
        self.addCleanup(self.start_server)

    def start_server(self) -> None:
        if not self.server.is_running:
            self.server.start()

    def start(self, *options: str) -> Proxy:
        return self.start_proxy(*self.allow_all(), *options, **self.environ)

    def egress(self, *arguments: str) -> str:
        """Run a command with the store, and return its output."""
        done = run_egress(*arguments, **self.environ)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn(PASSWORD, done.stdout)
        return done.stdout

    def stored(self, number: int) -> list[dict[str, Any]]:
        """Wait for this many records in the store, and return them."""
        self.wait_until(lambda: self.count() >= number, f"{number} records")
        return [json.loads(line) for line in self.egress("logs", "export", "jsonl").splitlines()]

    def count(self) -> int:
        database = self.location.rpartition("/")[2].partition("?")[0]
        if self.server.run("SELECT to_regclass('egress.exchanges')", database) == [(None,)]:
            return 0
        rows = self.server.run("SELECT count(*) FROM egress.exchanges", database)
        found: int = rows[0][0]
        return found

    def spooled(self, proxy: Proxy) -> int:
        """Return the number of lines in all spools of a proxy."""
        files = (proxy.ca.parent / "audit-spool").rglob("*.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def assert_complete(self, proxy: Proxy, number: int) -> None:
        """Check that the records of the store are those of the audit log."""
        logged = {record["requestId"]: record for record in self.records(proxy, number)}
        stored = self.stored(number)
        self.assertEqual(len(stored), number)
        self.assertEqual({record["requestId"] for record in stored}, set(logged))
        for record in stored:
            self.assertEqual((record.pop("node"), type(record.pop("worker"))), (socket.gethostname(), int))
            self.assertEqual(record, logged[record["requestId"]])

    def metrics(self, port: int) -> dict[str, float]:
        """Return the metrics of the audit store."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as page:
            lines = page.read().decode("utf-8").splitlines()
        found = [line.split() for line in lines if line.startswith("egress_audit_")]
        return {name: float(value) for name, value in found}

    def test_killed_under_load(self) -> None:
        """The server is killed twice, and a worker once, while clients send requests or records wait.

        All records are signed once.
        """
        port, key = free_port(), self.directory / "audit.key"
        options = ("--workers", "2", "--metrics-port", str(port), "--audit-signing-key", str(key))
        proxy = self.start(*options)
        load = Load(proxy, self.origins.http_url("/files/hello.txt?token=hunter2"), ENOUGH_FOR_BOTH)
        self.addCleanup(load.stop)
        self.wait_until(lambda: load.responses > 200)
        self.server.kill()
        self.wait_until(lambda: self.spooled(proxy) > 200)
        self.server.start()
        self.wait_until(lambda: self.spooled(proxy) == 0, "the records of the spool are stored under load")
        back = load.responses
        self.wait_until(lambda: load.responses > back + 200)
        self.server.kill()
        self.wait_until(lambda: self.spooled(proxy) > 200)
        total = load.stop()
        self.records(proxy, total)
        # All records that are not stored are in the spools of both workers.
        self.wait_until(lambda: self.metrics(port)["egress_audit_store_queued"] == 0)
        found = self.metrics(port)
        self.assertEqual(found["egress_audit_store_reachable"], 0)
        self.assertEqual(found["egress_audit_spool_records"], self.spooled(proxy))
        self.assertGreater(found["egress_audit_spool_bytes"], 200 * found["egress_audit_spool_records"])
        self.assertLess(abs(time.time() - found["egress_audit_spool_oldest_timestamp_seconds"]), 60)
        os.kill(proxy.workers[0], signal.SIGKILL)
        self.server.start()
        self.assert_complete(proxy, total)
        self.wait_until(lambda: self.spooled(proxy) == 0)
        self.wait_until(lambda: self.metrics(port)["egress_audit_store_reachable"] == 1)
        found = self.metrics(port)
        self.assertEqual((found["egress_audit_lines_lost_total"], found["egress_audit_spool_records"]), (0, 0))
        output = proxy.process.wait_for("records of the spool are stored")
        self.assertIn("records wait in the spool", output)
        self.assertNotIn(PASSWORD, output)
        proxy.process.stop()
        checkpoints = re.findall(r"audit store: checkpoint (\d+:[0-9a-f]{64})", proxy.process.output())
        given = [argument for text in checkpoints for argument in ("--checkpoint", text)]
        verified = json.loads(self.egress("logs", "verify", "--json", "--key", f"{key}.pub", *given))
        self.assertEqual((verified["findings"], verified["verified"], verified["unsigned"]), ([], total, 0))
        self.assertIn(verified["checkpoint"], checkpoints)
        self.assertEqual(sum(verified["writers"].values()), total)

    def test_killed_after_its_start(self) -> None:
        """Records leave the memory of a proxy before its writer process works, and it is ready once that works."""
        self.egress("logs", "migrate")
        url, port = self.origins.http_url("/files/hello.txt"), free_port()
        database = self.location.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(self.server.url(database), password=PASSWORD) as other:
            # The first batch of the proxy waits for this transaction.
            other.execute("LOCK TABLE egress.policies")
            proxy = self.start("--metrics-port", str(port))
            self.assertEqual(ready_checks(port)["audit"], "the process that writes the audit store is starting")
            for _ in range(2):
                self.assertEqual(self.fetch(proxy, url)[0], 200)
                time.sleep(SURVIVES_AFTER)
            proxy.process.popen.kill()
            proxy.process.popen.wait()
        self.assert_complete(proxy, 2)
        proxy = self.start("--metrics-port", str(port))
        self.wait_until(lambda: ready_checks(port)["audit"] == "ok", "the writer process works")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        time.sleep(SURVIVES_AFTER)
        proxy.process.popen.kill()
        proxy.process.popen.wait()
        self.stored(3)

    def test_started_while_the_server_is_away(self) -> None:
        """A proxy starts without the server, and a later one stores what an earlier one has left."""
        self.server.kill()
        proxy = self.start()
        url = self.origins.http_url("/files/hello.txt")
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        proxy.process.stop()
        output = proxy.process.output()
        self.assertIn("Connection refused", output)
        self.assertIn("until it can be reached, records wait in the spool", output)
        self.assertNotIn(PASSWORD, output)
        self.assertEqual(self.spooled(proxy), 1)
        check = run_egress("check", "--ca-dir", str(proxy.ca.parent), *self.allow_all(), **self.environ)
        self.assertIn("until it can be reached, records wait in the spool", check.stdout)
        proxy.process = self.start_again(proxy)
        self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.server.start()
        self.assert_complete(proxy, 2)
        self.assertEqual(self.spooled(proxy), 0)
        checked = self.egress("check", "--ca-dir", str(proxy.ca.parent), *self.allow_all())
        self.assertIn("accepts connections (", checked)

    def test_full_spool(self) -> None:
        """With --audit-failure deny, no request is forwarded while no record can be stored or wait."""
        self.server.kill()
        proxy = self.start("--workers", "1", "--audit-spool-size", "2k", "--audit-failure", "deny")
        url = self.origins.http_url("/files/hello.txt")
        statuses = []

        def is_rejected() -> bool:
            statuses.append(self.fetch(proxy, url)[0])
            return statuses[-1] == 503

        self.wait_until(is_rejected)
        self.assertEqual(set(statuses[:-1]), {200})
        self.server.start()
        self.wait_until(lambda: not is_rejected())
        self.assert_complete(proxy, len(statuses))

    def start_again(self, proxy: Proxy) -> Process:
        """Start a proxy with the same arguments, in the log of its own."""
        arguments = list(map(str, proxy.process.popen.args))
        env, start = proxy_environment(**self.environ), start_of(self.environ, arguments)
        process = Process(arguments, proxy.directory, "again", env, start=start)
        self.addCleanup(self.stop_cleanly, process)
        process.wait_for_port(proxy.port)
        return process

    def test_commands(self) -> None:
        """The commands read the store as they read a file."""
        proxy = self.start("--workers", "1")
        url = self.origins.http_url("/files/hello.txt")
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, url)[0], 200)
        first = self.stored(3)[0]["requestId"]
        self.assertEqual(len(self.egress("logs", "search", "host:127.0.0.1", "since:1h").splitlines()), 3)
        self.assertEqual(json.loads(self.egress("logs", "show", first, "--json"))["requestId"], first)
        self.assertTrue(self.egress("logs", "stats").startswith("records: 3\n"))
        tail = [sys.executable, "-m", "egress", "logs", "tail", "-f", "-n", "1", "status:404"]
        env = proxy_environment(**self.environ)
        with subprocess.Popen(tail, stdout=subprocess.PIPE, text=True, env=env) as follower:
            self.addCleanup(follower.kill)
            missing = self.origins.http_url("/files/missing")
            assert follower.stdout is not None
            thread = threading.Thread(target=self.fetch_until_stopped, args=(proxy, missing))
            thread.start()
            self.assertIn(f"404 GET {missing}", follower.stdout.readline())
            self.stopped = True
            thread.join()
            follower.send_signal(signal.SIGINT)
            self.assertNotEqual(follower.wait(20), None)
        suggested = self.egress("policy", "suggest", self.location)
        self.assertIn("127.0.0.1", suggested)
        policy = self.write("suggested.toml", suggested)
        self.egress("policy", "replay", "--policy", str(policy), self.location)
        lock = self.directory / "egress.lock"
        self.egress("lock", "record", "--lock", str(lock), self.location)
        self.egress("lock", "verify", "--lock", str(lock), self.location)

    stopped = False

    def fetch_until_stopped(self, proxy: Proxy, url: str) -> None:
        while not self.stopped:
            self.curl(proxy, url)
