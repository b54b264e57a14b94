"""C{twistd -n egressauthz}, run as a user runs it, and a proxy that uses it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.authz_service.callers import POLICY
from tests.certificates import TestCA
from tests.integration.base import ALLOW_ALL, DENY_ALL, IntegrationTestCase, plugin, proxy_environment, start_of
from tests.integration.processes import Process, free_port

TOKEN = "a-token-of-the-tests"


class Service:
    """A running authorization service.

    @ivar url: the value for C{--authz-url}.
    """

    def __init__(self, directory: Path, *options: str, endpoint: str = "tcp:{port}:interface=127.0.0.1") -> None:
        self.port = free_port()
        self.url = f"{'https' if endpoint.startswith('ssl') else 'http'}://127.0.0.1:{self.port}"
        self.audit = directory / "questions.jsonl"
        listen = endpoint.format(port=self.port)
        arguments = plugin("egressauthz", "--listen", listen, "--audit-log", str(self.audit), *options)
        environ = proxy_environment(EGRESSAUTHZ_TOKEN=TOKEN)
        self.process = Process(arguments, directory, "egressauthz", environ, start=start_of({}))
        self.process.wait_for_port(self.port)

    def records(self) -> list[dict[str, Any]]:
        """Return the records of the audit log."""
        return [json.loads(line) for line in self.audit.read_text("utf-8").splitlines()]


class EgressAuthzTests(IntegrationTestCase):
    """One policy, for every client of the service."""

    def setUp(self) -> None:
        super().setUp()
        self.policy = self.write("policy.toml", POLICY)

    def serve(self, *options: str, **more: str) -> Service:
        service = Service(self.directory, "--policy", str(self.policy), *options, **more)
        self.addCleanup(self.stop_cleanly, service.process)
        return service

    def serve_tls(self) -> tuple[Service, Path]:
        """Start a service with TLS.

        @return: the service, and a file with the CAs that a proxy needs.
        """
        ca = TestCA("authz CA")
        pem = ca.issue("127.0.0.1").write_combined(self.directory, "authz")
        both = self.directory / "both.pem"
        both.write_bytes(ca.pem + self.origins.ca.read_bytes())
        return self.serve(endpoint=f"ssl:{{port}}:interface=127.0.0.1:privateKey={pem}"), both

    def ask(self, service: Service, question: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Send an authorization request as a Postman runner does: with curl, without additional fields."""
        done = self.run_program(
            *("curl", "-sS", "--max-time", "10", "--noproxy", "*", "-w", "\n%{http_code}"),
            *("-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {TOKEN}", "-d", question),
            *arguments,
            f"{service.url}/validate",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        content, _, status = done.stdout.rpartition("\n")
        answer: dict[str, Any] = json.loads(content)
        return int(status), answer

    def test_proxy(self) -> None:
        """With TLS and a token, the verdicts and rules are the same as with the policy inside the proxy."""
        service, cas = self.serve_tls()
        trust = ("--ssl-extra-ca-certs", str(cas))
        asking = self.start_proxy("--authz-url", service.url, *trust, EGRESS_AUTHZ_TOKEN=TOKEN)
        embedded = self.start_proxy("--policy", str(self.policy))
        url = self.origins.https_url("/echo?token=hunter2")
        for arguments, status in (((), 200), (("-d", "x"), 403), (("-X", "PUT", "-d", "\x01"), 200)):
            found = [self.fetch(proxy, url, *arguments)[0] for proxy in (asking, embedded)]
            self.assertEqual(found, [status, status])
        for name in ("verdict", "ruleId", "reason"):
            here, there = ([line[name] for line in self.records(proxy, 3)] for proxy in (asking, embedded))
            self.assertEqual(here, there)
        self.wait_until(lambda: len(service.records()) == 3)
        lines = service.records()
        self.assertEqual([line["requestId"] for line in lines], [line["requestId"] for line in asking.records()])
        self.assertEqual([line["ruleId"] for line in lines], ["all", "no-writes", "all"])
        self.assertEqual({(line["outcome"], line["client"]) for line in lines}, {("decided", "127.0.0.1:0")})
        self.assertNotIn("hunter2", service.audit.read_text("utf-8"))

    def test_proxy_without_the_token(self) -> None:
        """The service rejects the request, which is not a denial: the client gets an authorizer failure."""
        service = self.serve()
        proxy = self.start_proxy("--authz-url", service.url)
        self.assert_problem(proxy, self.origins.http_url("/echo"), 503, "authz-unavailable")
        self.assertEqual(service.records(), [])

    def test_tunnel(self) -> None:
        self.policy.write_text(ALLOW_ALL, "utf-8")
        service = self.serve()
        proxy = self.start_proxy("--authz-url", service.url, "--passthrough", "localhost", EGRESS_AUTHZ_TOKEN=TOKEN)
        url = self.origins.https_url("/echo")
        done = self.curl(proxy, "--cacert", str(self.origins.ca), url)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.wait_until(lambda: len(service.records()) > 0)
        self.assertEqual([(line["stage"], line["method"]) for line in service.records()], [("tunnel", "CONNECT")])

    def test_runner(self) -> None:
        service = self.serve()
        question = {"url": "https://example.com/a?b=c", "method": "GET", "headers": "{}", "queryParams": "b=c"}
        version = sha256(self.policy.read_bytes()).hexdigest()[:12]
        self.assertEqual(
            self.ask(service, json.dumps(question)),
            (200, {"allowed": True, "reason": "allowed by the rule all", "ruleId": "all", "policyVersion": version}),
        )
        question["method"] = "POST"
        self.assertEqual(self.ask(service, json.dumps(question))[0], 403)
        self.assertEqual(self.ask(service, "garbage")[1]["allowed"], False)
        self.wait_until(lambda: len(service.records()) == 3)
        self.assertEqual([line["verdict"] for line in service.records()], ["allow", "deny", "rejected"])

    def test_upload_in_chunks(self) -> None:
        question = json.dumps({"url": "https://example.com/", "method": "PUT", "headers": "{}", "body": "x" * 300_000})
        path = self.write("question.json", question)
        service = self.serve("--body-limit", "1m")
        status, _ = self.ask(service, f"@{path}", "-H", "Transfer-Encoding: chunked")
        self.assertEqual(status, 200)
        path.write_text(question + " " * 6_000_000, "utf-8")
        status, problem = self.ask(service, f"@{path}")
        self.assertEqual((status, problem["status"]), (413, 413))

    def test_policy_reload(self) -> None:
        """A changed policy applies automatically, and after SIGHUP immediately; an invalid one does not apply."""
        service = self.serve()
        question = json.dumps({"url": "https://example.com/", "method": "GET", "headers": "{}"})
        self.assertEqual(self.ask(service, question)[0], 200)
        self.policy.write_text(DENY_ALL, "utf-8")
        self.wait_until(lambda: self.ask(service, question)[1].get("ruleId") == "closed")
        self.policy.write_text("garbage", "utf-8")
        self.wait_until(lambda: "policy reload failed" in service.process.output())
        self.assertEqual(self.ask(service, question)[1]["ruleId"], "closed")
        self.policy.write_text(POLICY, "utf-8")
        os.kill(service.process.popen.pid, signal.SIGHUP)
        self.wait_until(lambda: self.ask(service, question)[1]["ruleId"] == "all")

    def test_metrics(self) -> None:
        port = free_port()
        service = self.serve("--metrics-port", str(port))
        self.ask(service, '{"url": "https://example.com/", "method": "GET"}')
        pages = {
            path: self.run_program("curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}{path}").stdout
            for path in ("/metrics", "/health/ready", "/health/live")
        }
        self.assertIn('egressauthz_requests_total{verdict="allow"} 1.0', pages["/metrics"])
        self.assertIn("egress_policy_last_reload_successful 1.0", pages["/metrics"])
        self.assertIn('"ready"', pages["/health/ready"])
        self.assertIn('"live"', pages["/health/live"])

    def test_message(self) -> None:
        service = self.serve()
        self.wait_until(lambda: "For a proxy" in service.process.output())
        output = service.process.output()
        for words in (
            f"127.0.0.1:{service.port}",
            str(self.policy),
            "must send the token",
            f"--authz-url {service.url}",
        ):
            self.assertIn(words, output)
        self.assertNotIn(TOKEN, output)

    def test_stopped(self) -> None:
        """A persistent idle connection does not delay the stop."""
        service = self.serve()
        with socket.create_connection(("127.0.0.1", service.port)):
            begun = time.monotonic()
            service.process.popen.terminate()
            service.process.popen.wait(10)
        self.assertLess(time.monotonic() - begun, 8)


class CannotStartTests(IntegrationTestCase):
    """A failed start is one line on standard error, and status 1."""

    def start(self, *options: str) -> str:
        done = subprocess.run(
            plugin("egressauthz", *options),
            cwd=self.directory,
            env=proxy_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stdout)
        (line,) = done.stderr.splitlines()
        self.assertTrue(line.startswith("egressauthz: "), line)
        return line

    def test_policy(self) -> None:
        policy = self.write("policy.toml", 'version = 1\n[[rules]]\naction = "perhaps"\n')
        line = self.start("--listen", f"tcp:{free_port()}", "--policy", str(policy))
        self.assertIn("--policy: ", line)
        self.assertIn("'action'", line)

    def test_busy_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            line = self.start("--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(f"cannot listen on 127.0.0.1:{port}: Address already in use", line)

    def test_option(self) -> None:
        self.assertIn("did you mean --token-file?", self.start("--tokn-file", "x"))
