"""From observed traffic to an enforced policy, with the commands that a user runs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.integration.base import ALLOW_ALL, DENY_ALL, IntegrationTestCase, Proxy, run_egress
from tests.integration.processes import free_port


class LearningTests(IntegrationTestCase):
    """Observe, suggest, enforce, verify."""

    def egress(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_egress(*arguments, directory=self.directory)

    def urls(self) -> list[tuple[str, str]]:
        """Return the methods and URLs of the job."""
        return [
            *(("GET", self.origins.http_url(f"/echo/items/{number}?page={number}")) for number in (1, 2, 31)),
            ("POST", self.origins.http_url("/echo/items")),
            ("GET", self.origins.https_url("/files/hello.txt")),
        ]

    def work(self, proxy: Proxy) -> list[int]:
        """Run the job, and return the status codes."""
        return [self.fetch(proxy, url, "-X", method)[0] for method, url in self.urls()]

    def metric(self, port: int, name: str) -> float:
        done = self.run_program("curl", "-sS", f"http://127.0.0.1:{port}/metrics")
        values = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        return float(values[0]) if values else -1.0

    def wait_for(self, port: int, name: str, value: float) -> None:
        deadline = time.monotonic() + 20
        while (found := self.metric(port, name)) != value:
            self.assertLess(time.monotonic(), deadline, f"{name} is {found}")
            time.sleep(0.05)

    def test_from_traffic_to_a_policy(self) -> None:
        metrics = free_port()
        deny = str(self.write("deny.toml", DENY_ALL))
        observing = self.start_proxy("--mode", "observe", "--policy", deny, "--metrics-port", str(metrics))
        statuses = self.work(observing)
        self.assertNotIn(403, statuses)
        observing.process.wait_for("NOTHING IS ENFORCED")
        records = self.records(observing, len(statuses))
        self.assertEqual(
            {(record["verdict"], record["observed"], record["ruleId"]) for record in records},
            {("allow", "deny", "closed")},
        )
        self.wait_for(metrics, 'egress_observed_total{verdict="deny"}', len(statuses))
        self.assertEqual(self.metric(metrics, "egress_observe_mode"), 1)

        audit = str(observing.audit)
        suggested = self.egress("policy", "suggest", audit, "--output", "suggested.toml")
        self.assertEqual((suggested.returncode, suggested.stderr), (0, ""))
        text = (self.directory / "suggested.toml").read_text("utf-8")
        self.assertIn('paths = ["/echo/items/*"]', text)

        replayed = self.egress("policy", "replay", "--json", audit, "--policy", "suggested.toml")
        self.assertEqual((replayed.returncode, replayed.stderr), (1, ""))
        self.assertEqual(json.loads(replayed.stdout)["requests"]["newly allowed"], len(statuses))

        enforcing = self.start_proxy("--policy", str(self.directory / "suggested.toml"))
        self.assertEqual(self.work(enforcing), statuses)
        self.assert_problem(enforcing, f"http://localhost:{self.origins.http}/echo/items/1", 403, "authz")
        self.assert_problem(enforcing, self.origins.http_url("/echo/items/1"), 403, "authz", "-X", "DELETE")

    def test_the_address_guard_in_observe_mode(self) -> None:
        """The address guard blocks in observe mode, too."""
        proxy = self.start_proxy("--mode", "observe", *self.allow_all(), local=False)
        self.assert_problem(proxy, self.origins.http_url("/files/hello.txt"), 403, "address")

    def test_content_over_the_limit(self) -> None:
        """It is observed, too, by its beginning."""
        service, questions = self.start_authz_service("POST")
        proxy = self.start_proxy("--mode", "observe", "--authz-url", service, "--body-limit", "10")
        status, _ = self.fetch(proxy, self.origins.http_url("/echo"), "-d", "0123456789abcdef")
        self.assertEqual(status, 200)
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["observed"], record["bytesSent"]), ("deny", 16))
        (question,) = (json.loads(line) for line in questions.read_text("utf-8").splitlines())
        self.assertIn("bodyTruncated", json.dumps(question))

    def test_an_unavailable_authorizer(self) -> None:
        proxy = self.start_proxy("--mode", "observe", "--authz-url", f"http://127.0.0.1:{free_port()}")
        self.assertEqual(self.fetch(proxy, self.origins.http_url("/files/hello.txt"))[0], 200)
        (record,) = self.records(proxy, 1)
        self.assertEqual((record["verdict"], record["observed"]), ("allow", "unavailable"))

    def test_shadow(self) -> None:
        """Its disagreements are counted and logged, and change nothing."""
        metrics = free_port()
        allow, deny = str(self.write("allow.toml", ALLOW_ALL)), str(self.write("deny.toml", DENY_ALL))
        log = self.directory / "shadow.jsonl"
        options = ["--policy", allow, "--shadow-policy", deny, "--shadow-log", str(log), "--metrics-port", str(metrics)]
        proxy = self.start_proxy(*options)
        url = self.origins.http_url("/files/hello.txt?token=hunter2")
        for _ in range(3):
            self.assertEqual(self.fetch(proxy, url)[0], 200)
        self.wait_for(metrics, 'egress_shadow_decisions_total{result="stricter"}', 3)
        entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        self.assertEqual({(entry["verdict"], entry["shadowVerdict"]) for entry in entries}, {("allow", "deny")})
        output = proxy.process.wait_for("the shadow authorizer is stricter")
        self.assertNotIn("hunter2", log.read_text("utf-8") + output)

    def test_an_unavailable_shadow(self) -> None:
        metrics = free_port()
        proxy = self.start_proxy(
            *(
                *self.allow_all(),
                "--shadow-authz-url",
                f"http://127.0.0.1:{free_port()}",
                "--metrics-port",
                str(metrics),
            )
        )
        self.assertEqual(self.fetch(proxy, self.origins.http_url("/files/hello.txt"))[0], 200)
        self.wait_for(metrics, 'egress_shadow_decisions_total{result="unavailable"}', 1)

    def test_lock_and_a_service_to_replay_to(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        self.fetch(proxy, self.origins.http_url("/files/hello.txt"))
        self.records(proxy, 1)
        first = self.directory / "first.jsonl"
        first.write_bytes(proxy.audit.read_bytes())
        self.assertEqual(self.egress("lock", "record", str(first)).returncode, 0)
        lock = (self.directory / "egress.lock").read_text("utf-8")
        self.assertIn(f"GET     http://127.0.0.1:{self.origins.http}\n", lock)
        self.assertEqual(self.egress("lock", "verify", str(first)).returncode, 0)
        self.fetch(proxy, self.origins.https_url("/files/hello.txt"))
        self.records(proxy, 2)
        verified = self.egress("lock", "verify", str(proxy.audit))
        self.assertEqual(verified.returncode, 1)
        self.assertIn(f"+ GET     {self.origins.https_url('')}".rstrip("/"), verified.stdout)
        self.assertNotIn("\x1b", verified.stdout)

        service, _ = self.start_authz_service("GET")
        replayed = self.egress("policy", "replay", str(proxy.audit), "--authz-url", service)
        self.assertEqual((replayed.returncode, replayed.stderr), (1, ""))
        self.assertIn("2 requests newly denied", replayed.stdout)
        self.assertFalse((Path(self.directory) / "twistd.pid").exists())
