"""Approvals, as seen by clients and approvers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from egress.cli.admin_client import AdminApi
from egress.cli.errors import CommandFailed
from egress.config.admin_endpoint import AdminEndpoint
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy, run_egress
from tests.integration.processes import ROOT, environment, free_port, program

PATIENCE = 20.0

POLICY = """
version = 1

[[rules]]
id = "ask-first"
action = "ask"
reason = "a person looks at this"
paths = ["/echo"]

[[rules]]
action = "allow"
"""


class Asking(BaseHTTPRequestHandler):
    """An authorization service that requires an approval for every request."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = {
            "allowed": False,
            "ask": True,
            "ruleId": "s1",
            "reason": "the service is not sure",
            "setHeaders": {"X-Said": "from-the-service"},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class ApprovalsTestCase(IntegrationTestCase):
    """Base: a proxy whose policy asks, and an approver at the command line."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = self.directory / "admin.sock"

    def start(self, *options: str) -> Proxy:
        return self.start_asking("--policy", str(self.write("ask.toml", POLICY)), *options)

    def start_asking(self, *options: str) -> Proxy:
        proxy = self.start_proxy("--admin", f"unix:{self.socket}", *options)
        # It is bound after the port for which the start waits.
        self.wait_until(self.answers, "the admin API")
        return proxy

    def answers(self) -> bool:
        try:
            self.listed()
        except CommandFailed:
            return False
        return True

    def egress(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command, as an approver does."""
        return run_egress(*arguments, directory=self.directory, **{"EGRESS_ADMIN": f"unix:{self.socket}", **env})

    def approvals(self, *arguments: str) -> str:
        done = self.egress("approvals", *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def listed(self) -> dict[str, Any]:
        """Return the output of C{egress approvals --json}, without the time that a program needs to start."""
        return AdminApi(AdminEndpoint.parse(f"unix:{self.socket}"), None).call("GET", "/approvals")

    def begin(self, proxy: Proxy, url: str, *more: str) -> subprocess.Popen[str]:
        """Start a request with curl, without waiting for the response."""
        arguments = ("-sS", "--max-time", "30", "--noproxy", "", "-x", proxy.url, "--cacert", str(proxy.ca))
        started = subprocess.Popen(
            [program("curl"), *arguments, *more, "-w", "\n%{http_code}", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.addCleanup(self._end, started)
        return started

    def _end(self, started: subprocess.Popen[str]) -> None:
        if started.poll() is None:
            started.kill()
        started.communicate()

    def end(self, started: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for curl, and return the status and the body."""
        out, err = started.communicate(timeout=PATIENCE)
        self.assertEqual(started.returncode, 0, err)
        content, _, status = out.rpartition("\n")
        return int(status), content

    def held(self, count: int = 1) -> dict[str, Any]:
        """Wait until one pending approval has this many requests, and return it."""
        self.wait_until(lambda: sum(one["count"] for one in self.listed()["pending"]) == count, f"{count} held")
        (one,) = self.listed()["pending"]
        found: dict[str, Any] = one
        return found


class AnswerTests(ApprovalsTestCase):
    """Approvals are allowed and denied."""

    def test_allow_and_deny(self) -> None:
        proxy = self.start()
        self.assertEqual(self.socket.stat().st_mode & 0o777, 0o600)
        proxy.process.wait_for(f"; admin unix:{self.socket}; audit store ")
        self.assertEqual(self.fetch(proxy, self.origins.https_url("/json"))[0], 200)

        url = self.origins.https_url("/echo?q=1")
        waiting = self.begin(proxy, url)
        one = self.held()
        self.assertEqual((one["method"], one["url"], one["ruleId"]), ("GET", url, "ask-first"))
        self.assertEqual(json.loads(self.approvals("--json"))["pending"], [one])
        text = self.approvals()
        for part in (one["id"], f"GET {url}", "rule ask-first: a person looks at this", "127.0.0.1"):
            self.assertIn(part, text)
        text = self.approvals("show", one["id"])
        # The names of fields are lower case in HTTP/2, which curl uses here.
        for part in (one["id"], "rule ask-first: a person looks at this", "    user-agent: curl/"):
            self.assertIn(part, text)
        self.assertIsNone(waiting.poll())
        self.assertIn("allowed once", self.approvals("allow", one["id"], "--by", "ann"))
        self.assertEqual(self.end(waiting)[0], 200)
        self.assertEqual(self.approvals(), "No pending approvals.\n")

        waiting = self.begin(proxy, url)
        self.approvals("deny", self.held()["id"], "--reason", "not today", "--by", "ann")
        status, content = self.end(waiting)
        problem = json.loads(content)
        self.assertEqual((status, problem["stage"], problem["reason"]), (403, "authz", "denied by ann: not today"))

        allowed, denied = self.records(proxy, 3)[1:]
        decider = f"an approver (ann) for policy {self.directory / 'ask.toml'}"
        self.assertEqual((allowed["verdict"], allowed["decidedBy"]), ("allow", decider))
        self.assertEqual((allowed["ruleId"], allowed["reason"]), ("ask-first", "allowed once by ann"))
        self.assertEqual((denied["verdict"], denied["decidedBy"], denied["ruleId"]), ("deny", decider, "ask-first"))

    def test_grant(self) -> None:
        proxy = self.start()
        url = self.origins.https_url("/echo?q=1")
        waiting = self.begin(proxy, url)
        text = self.approvals("allow", self.held()["id"], "--for", "1h", "--by", "ann")
        self.assertEqual(self.end(waiting)[0], 200)
        self.assertEqual(self.fetch(proxy, self.origins.https_url("/echo?q=2"))[0], 200)
        record = self.records(proxy, 2)[1]
        self.assertEqual((record["source"], record["ruleId"]), ("approval", "ask-first"))
        self.assertIn("allowed by ann until ", record["reason"])
        self.assertIn("Grants:", self.approvals())
        self.approvals("revoke", text.split()[-1])
        waiting = self.begin(proxy, url)
        self.approvals("deny", self.held()["id"])
        self.assertEqual(self.end(waiting)[0], 403)

    def test_no_other_timeout_applies(self) -> None:
        """Neither the authorizer's timeout nor a watchdog's applies; requests with content and tunnels wait as well."""
        names = ("head", "body", "idle", "connect", "response", "tunnel", "authz")
        times = [word for name in names for word in (f"--{name}-timeout", "1s")]
        proxy = self.start(*times)
        waiting = self.begin(proxy, self.origins.http_url("/echo"), "--data", "x" * 100_000)
        one = self.held()
        time.sleep(2.5)
        self.approvals("allow", one["id"])
        self.assertEqual(self.end(waiting)[0], 200)

    def test_a_tunnel(self) -> None:
        policy = self.write("tunnel.toml", 'version = 1\n[[rules]]\naction = "ask"\nreason = "look"\n')
        proxy = self.start_asking("--policy", str(policy), "--passthrough", "localhost")
        waiting = self.begin(proxy, self.origins.https_url("/json"), "--cacert", str(self.origins.ca))
        one = self.held()
        self.assertEqual((one["stage"], one["method"]), ("tunnel", "CONNECT"))
        self.approvals("allow", one["id"])
        self.assertEqual(self.end(waiting)[0], 200)

    def test_an_authorization_service_asks(self) -> None:
        """The approval timeout is independent of the service's timeout; the service's obligations apply."""
        service = HTTPServer(("127.0.0.1", 0), Asking)
        self.addCleanup(service.server_close)
        self.addCleanup(service.shutdown)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{service.server_port}"
        proxy = self.start_asking("--authz-url", url, "--authz-timeout", "1s")
        waiting = self.begin(proxy, self.origins.https_url("/echo"))
        one = self.held()
        self.assertEqual((one["ruleId"], one["reason"]), ("s1", "the service is not sure"))
        time.sleep(1.5)
        self.approvals("allow", one["id"], "--by", "ann")
        status, content = self.end(waiting)
        self.assertEqual(status, 200)
        self.assertIn("from-the-service", content)
        record = self.records(proxy, 1)[0]
        self.assertEqual(
            (record["verdict"], record["ruleId"], record["reason"]), ("allow", "s1", "allowed once by ann")
        )

    def test_approval_timeout(self) -> None:
        proxy = self.start("--approval-timeout", "500ms")
        problem = self.assert_problem(proxy, self.origins.https_url("/echo"), 403, "authz")
        self.assertEqual(problem["reason"], "no approver answered within 0.5 s (a person looks at this)")
        self.assertEqual(self.records(proxy, 1)[0]["ruleId"], "ask-first")

    def test_no_admin_api(self) -> None:
        proxy = self.start_proxy("--policy", str(self.write("ask.toml", POLICY)))
        problem = self.assert_problem(proxy, self.origins.http_url("/echo"), 403, "authz")
        self.assertIn("start the proxy with --admin", problem["reason"])

    def test_client_disconnects(self) -> None:
        proxy = self.start()
        waiting = self.begin(proxy, self.origins.https_url("/echo"))
        self.held()
        waiting.kill()
        self.wait_until(lambda: not self.listed()["pending"], "nothing held")
        self.assertEqual(self.records(proxy, 1)[0]["outcome"], "client-disconnected")

    def test_stopping(self) -> None:
        """Pending approvals are denied immediately, and the proxy stops without waiting."""
        proxy = self.start()
        waiting = self.begin(proxy, self.origins.https_url("/echo"))
        self.held()
        began = time.monotonic()
        proxy.process.stop()
        self.assertLess(time.monotonic() - began, 8)
        status, content = self.end(waiting)
        self.assertEqual(status, 403)
        self.assertIn("the proxy stopped before an approver answered", content)

    def test_watching(self) -> None:
        proxy = self.start()
        watching = subprocess.Popen(
            [sys.executable, "-m", "egress", "approvals", "--watch", "--admin", f"unix:{self.socket}"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(PYTHONPATH=str(ROOT)),
        )
        self.addCleanup(watching.communicate)
        self.addCleanup(watching.kill)
        waiting = self.begin(proxy, self.origins.https_url("/echo"))
        assert watching.stdout is not None
        name = watching.stdout.readline().split()[0]
        self.approvals("allow", name)
        self.assertEqual(self.end(waiting)[0], 200)
        watching.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(PATIENCE), 0)


class WorkersTests(ApprovalsTestCase):
    """Several processes have pending approvals, which approvers see as one list."""

    def test_two_workers(self) -> None:
        proxy = self.start("--workers", "2")
        url = self.origins.https_url("/echo")
        # The probability that one of these workers gets none of eight requests is 2 ** -7.
        waiting = [self.begin(proxy, url) for _ in range(8)]
        one = self.held(8)
        self.assertIn("8 requests allowed", self.approvals("allow", one["id"], "--for", "1h"))
        self.assertEqual({self.end(each)[0] for each in waiting}, {200})
        for _ in range(8):
            self.assertEqual(self.fetch(proxy, url)[0], 200)

        # A worker that starts later gets the grant, too.
        for pid in proxy.workers:
            os.kill(pid, signal.SIGKILL)
        gone = set(proxy.workers)
        self.wait_until(lambda: len(set(proxy.workers) - gone) == 2 or len(proxy.workers) == 2, "two workers")
        self.wait_until(lambda: self.serves(proxy), "a worker that serves")
        for _ in range(4):
            self.assertEqual(self.fetch(proxy, url)[0], 200)
        (permission,) = self.listed()["grants"]
        self.approvals("revoke", permission["id"])
        waiting = [self.begin(proxy, url) for _ in range(4)]
        self.approvals("deny", self.held(4)["id"])
        self.assertEqual({self.end(each)[0] for each in waiting}, {403})

    def serves(self, proxy: Proxy) -> bool:
        return proxy.process.output().count("started as process") >= 4


class AdminTests(ApprovalsTestCase):
    """Access to the admin API."""

    def test_a_token(self) -> None:
        port = free_port()
        token = self.write("token", "s3cret-word\n")
        proxy = self.start_proxy(
            *self.allow_all(), *ONE_PROCESS, "--admin", f"tcp:{port}", "--admin-token-file", str(token)
        )
        admin = f"http://127.0.0.1:{port}"
        done = self.egress("approvals", "--admin", admin, EGRESS_ADMIN="")
        self.assertEqual(done.returncode, 1)
        self.assertIn("token", done.stderr)
        done = self.egress("approvals", "--admin", admin, "--token-file", str(token), EGRESS_ADMIN="")
        self.assertEqual((done.returncode, done.stdout), (0, "No pending approvals.\n"))
        # Requests to the admin API through the proxy are blocked.
        self.assert_problem(proxy, f"{admin}/approvals", 403, "address")

    def test_no_token(self) -> None:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted", "egressproxy"),
                *("--admin", f"tcp:{free_port()}", "--ca-dir", str(self.directory / "ca")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.directory,
            env=environment(PYTHONPATH=str(ROOT)),
            check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("egressproxy: --admin", done.stderr)
        self.assertIn("--admin-token-file", done.stderr)
        self.assertEqual(list(Path(self.directory).glob("ca")), [])

    def test_no_proxy(self) -> None:
        done = self.egress("approvals")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is the proxy running?", done.stderr)
