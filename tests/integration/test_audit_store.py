"""The audit store of a proxy that is killed and restarted."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
import time
from contextlib import closing
from hashlib import sha256
from itertools import groupby
from typing import Any

from tests.integration.base import DENY_ALL, IntegrationTestCase, Proxy, proxy_environment, run_egress, start_of
from tests.integration.processes import Process


class AuditStoreTests(IntegrationTestCase):
    """The records of the store are those of the audit log."""

    def test_killed_and_restarted(self) -> None:
        """No record that was stored is lost, and none is stored twice."""
        location = f"sqlite:{self.directory / 'audit.db'}"
        proxy = self.start_proxy(*self.allow_all(), "--audit-store", location)
        url = self.origins.https_url("/files/hello.txt?token=hunter2")
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        before = self.stored(location, 3)
        workers = proxy.workers
        os.kill(proxy.pid, signal.SIGKILL)
        proxy.process.popen.wait()
        while any(os.path.exists(f"/proc/{pid}") for pid in workers):
            time.sleep(0.02)
        self.start_again(proxy)
        self.assertEqual(self.stored(location, 3), before)
        self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        after = self.stored(location, 4)
        self.assertEqual(after[:3], before)
        ids = [record["requestId"] for record in after]
        self.assertEqual(len(set(ids)), 4)
        logged = {record["requestId"]: record for record in proxy.records()}
        self.assertEqual({record["requestId"]: record for record in after}, {name: logged[name] for name in ids})
        self.assertTrue(all("token=REDACTED" in record["url"] for record in after))
        shown = run_egress("logs", "show", ids[0], EGRESS_AUDIT_STORE=location)
        self.assertIn(f"requestId       {ids[0]}\n", shown.stdout)

    def test_policy_versions(self) -> None:
        """Each record names the policy that decided on its request, and the store has the text of each policy."""
        location = f"sqlite:{self.directory / 'audit.db'}"
        proxy = self.start_proxy(*self.allow_all(), "--audit-store", location)
        policy, url = self.directory / "allow.toml", self.origins.http_url("/files/hello.txt")
        versions, texts = [], []
        for number in range(2):
            texts.append(policy.read_text("utf-8"))
            versions.append(sha256(texts[-1].encode()).hexdigest()[:12])

            def decided(expected: str = versions[-1], allowed: int = 403 if number else 200) -> bool:
                before = len(proxy.records())
                status, _ = self.fetch(proxy, url)
                records = self.records(proxy, before + 1)
                self.assertEqual(records[-1]["status"], status)
                # The new policy decides after its reload; until then, the old one does.
                self.assertIn(records[-1]["policyVersion"], versions)
                self.assertEqual(records[-1]["policyVersion"] == expected, status == allowed)
                return status == allowed

            self.wait_until(decided, "a decision by the new policy")
            policy.write_text(DENY_ALL, "utf-8")
        self.stored(location, len(proxy.records()))
        found = run_egress("logs", "search", "--json", f"policy:{versions[1]}", EGRESS_AUDIT_STORE=location)
        self.assertEqual({record["verdict"] for record in json.loads(found.stdout)["records"]}, {"deny"})
        listed = run_egress("policy", "history", "--json", EGRESS_AUDIT_STORE=location)
        entries = json.loads(listed.stdout)["entries"]
        # Each worker that has stored a record has added its policy.
        self.assertEqual([version for version, _ in groupby(entry["version"] for entry in entries)], versions[::-1])
        self.assertLessEqual(len(entries), 2 * int(os.environ.get("EGRESS_TEST_WORKERS", "1")))
        self.assertEqual({entry["source"] for entry in entries}, {str(policy)})
        for version, text in zip(versions, texts, strict=True):
            shown = run_egress("policy", "history", version, EGRESS_AUDIT_STORE=location)
            self.assertEqual(shown.stdout.strip(), text.strip())

    def test_default(self) -> None:
        """C{egress logs} finds the requests of C{egress run} and of a proxy with C{--admin} without any setting."""
        admin = f"unix:{self.directory / 'admin.sock'}"
        proxy = self.start_proxy(*self.allow_all(), "--admin", admin)
        self.assertEqual(self.fetch(proxy, self.origins.https_url("/files/hello.txt")), (200, "hello\n"))
        state = proxy.ca.parent
        location = f"sqlite:{state / 'audit.db'}"
        self.assertIn(f"; audit store {state / 'audit.db'}", proxy.process.output())
        self.stored(location, 1)
        probe = "import urllib.request as u; u.urlopen('http://blocked.example.com/')"
        run = run_egress("run", "--ca-dir", str(state), "--", sys.executable, "-c", probe)
        self.assertEqual(run.returncode, 1)
        found = run_egress("logs", "search", "--json", "host:blocked.example.com", EGRESS_CA_DIR=str(state))
        (record,) = json.loads(found.stdout)["records"]
        self.assertEqual((record["verdict"], record["url"]), ("deny", "http://blocked.example.com/"))
        self.assertEqual(len(self.stored(location, 2)), 2)

    def test_tampering(self) -> None:
        """Changed, removed and inserted records of a real proxy are detected, also at the end."""
        store, key = self.directory / "audit.db", self.directory / "audit.key"
        location, public = f"sqlite:{store}", f"{key}.pub"
        proxy = self.start_proxy(*self.allow_all(), "--audit-store", location, "--audit-signing-key", str(key))
        url = self.origins.http_url("/files/hello.txt")
        for number in range(1, 4):
            # Each request gets a block of its own.
            self.assertEqual(self.fetch(proxy, f"{url}?{number}"), (200, "hello\n"))
            self.stored(location, number)
        proxy.process.stop()
        # Each worker logs its own last checkpoint.
        logged = re.findall(r"audit store: checkpoint (\d+:[0-9a-f]{64})", proxy.process.output())
        checkpoint = max(logged, key=lambda text: int(text.partition(":")[0]))
        expected = f"3 records verified, 0 findings\nlast checkpoint {checkpoint}\n"
        self.assertIn(expected, self.verify(0, location, public))
        original = store.read_bytes()
        for statements, finding in (
            (["UPDATE exchanges SET url = 'http://other.test/' WHERE url LIKE '%?2'"], "was changed"),
            (["DELETE FROM exchanges WHERE url LIKE '%?2'"], "a record of block 2 was removed"),
            (
                [
                    "CREATE TEMP TABLE copied AS SELECT * FROM exchanges WHERE url LIKE '%?2'",
                    "UPDATE copied SET id = id + 1, seq = 9, request_id = 'new'",
                    "INSERT INTO exchanges SELECT * FROM copied",
                ],
                "record new was inserted",
            ),
            (
                ["DELETE FROM exchanges WHERE url LIKE '%?3'", "DELETE FROM blocks WHERE number = 3"],
                "the store ends before the checkpoint",
            ),
        ):
            with self.subTest(finding), closing(sqlite3.connect(store)) as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.commit()
                found = self.verify(1, location, public, "--checkpoint", checkpoint)
                self.assertIn(finding, found)
                self.assertIn(", 1 finding\n", found)
            store.write_bytes(original)
        self.verify(0, location, public, "--checkpoint", checkpoint)

    def verify(self, status: int, location: str, public: str, *options: str) -> str:
        """Return the output of C{egress logs verify}."""
        done = run_egress("logs", "verify", "--audit-store", location, "--key", public, *options)
        self.assertEqual((done.returncode, done.stderr), (status, ""), done.stdout)
        return done.stdout

    def start_again(self, proxy: Proxy) -> None:
        """Restart a proxy with the same arguments."""
        arguments = list(map(str, proxy.process.popen.args))
        start = start_of({}, arguments)
        process = Process(arguments, proxy.directory, "again", proxy_environment(), start=start)
        self.addCleanup(self.stop_cleanly, process)
        process.wait_for_port(proxy.port)

    def stored(self, location: str, number: int) -> list[dict[str, Any]]:
        """Wait for this many records of requests in the store, and return them."""
        deadline = time.monotonic() + 20
        records: list[dict[str, Any]] = []
        while len(records) < number and time.monotonic() < deadline:
            done = run_egress("logs", "export", "jsonl", "stage:request", "--audit-store", location)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            records = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(records), number)
        return records
