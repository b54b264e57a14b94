"""Notifications: a real receiver gets few messages, each signed, whatever happens to the proxy or to the receiver."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.base import IntegrationTestCase, Proxy, run_egress
from tests.integration.processes import HERE, ROOT, Process, free_port

POLICY = """
version = 1
[[rules]]
id = "closed"
action = "deny"
reason = "this path is closed"
paths = ["/closed/**"]
[[rules]]
id = "look"
action = "ask"
reason = "an approver decides"
paths = ["/files/hello.txt"]
methods = ["PUT"]
[[rules]]
action = "allow"
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DENIALS = 200
WORKERS = 2


def sample() -> Callable[[str, dict[str, str], bytes], None]:
    """Return the function of the page that verifies a message."""
    page = (ROOT / "docs" / "how-to" / "notifications.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[[str, dict[str, str], bytes], None] = names["verify"]
    return verify


class Receiver:
    """A receiver of messages, which verifies each as the page describes.

    @ivar messages: the accepted messages, in order.
    @ivar attempts: the ids of all attempts.
    @ivar invalid: the errors of messages that are not valid.
    @ivar status: the status of the responses.
    @ivar open: while it is not set, there are no responses.
    @ivar connections: the connections.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/egress"
        self.messages: list[dict[str, Any]] = []
        self.attempts: list[str] = []
        self.invalid: list[str] = []
        self.status = 204
        self.open = threading.Event()
        self.open.set()
        self.connections: list[socket.socket] = []
        self._verify = sample()
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
                receiver.open.wait(60)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Verify one message."""
        try:
            self._verify(SECRET, headers, body)
        except (KeyError, ValueError) as error:
            self.invalid.append(f"{error}: {body!r}")
            return
        self.attempts.append(headers["webhook-id"])
        if self.open.is_set() and self.status < 300:
            self.messages.append(json.loads(body))

    def stop(self) -> None:
        """Refuse connections, and end the open ones."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self.connections.clear()

    def of(self, *types: str) -> list[dict[str, Any]]:
        """Return the messages of some types."""
        return [message for message in self.messages if message["type"] in types]


class NotificationsTestCase(IntegrationTestCase):
    """Base: a proxy that notifies a receiver."""

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        self.addCleanup(self.receiver.open.set)
        self.secret = self.write("secret.txt", f"{SECRET}\n")
        self.urls = self.write("urls.txt", f"{self.receiver.url}\n")

    def notifying(self) -> list[str]:
        """Return the options about notifications."""
        return ["--notify-url-file", str(self.urls), "--notify-secret-file", str(self.secret)]

    def start(self, *options: str, workers: int = WORKERS) -> Proxy:
        """Start a proxy."""
        more = ("--workers", str(workers), "--notify-interval", "1s", "--console-url", "https://console.example")
        return self.start_proxy(*self.notifying(), *more, *options)

    def request(self, proxy: Proxy, path: str, method: str = "GET", host: str = "127.0.0.1") -> int:
        """Send a request on a connection of its own, and return the status."""
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        try:
            connection.request(method, f"http://{host}:{self.origins.http}{path}")
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def got(self, *types: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait for messages of some types."""
        self.wait_until(
            lambda: len(self.receiver.of(*types)) >= number, f"{number} of {types}: {self.receiver.messages}"
        )
        return self.receiver.of(*types)

    def assert_valid(self) -> None:
        """Check that all messages were valid."""
        self.assertEqual(self.receiver.invalid, [])


class EventTests(NotificationsTestCase):
    """What happens in two workers is few messages."""

    def test_events(self) -> None:
        policy, admin = self.write("policy.toml", POLICY), f"unix:{self.directory / 'admin.sock'}"
        proxy = self.start("--policy", str(policy), "--admin", admin)
        self.denials(proxy)
        self.approval(proxy, admin)
        self.policy(policy)
        self.replace_webhooks(proxy)
        self.receiver_down(proxy)
        self.stop(proxy)
        self.assert_valid()
        # Neither the log nor a process list displays the path of the webhook.
        self.assertNotIn("/egress\n", proxy.process.output())
        self.assertNotIn(SECRET, proxy.process.output())

    def denials(self, proxy: Proxy) -> None:
        """A flood of denials is one message, and one summary for each interval."""
        begun = time.monotonic()
        for number in range(DENIALS):
            self.assertEqual(self.request(proxy, f"/closed/{number}?token=hunter2"), 403)
        intervals = time.monotonic() - begun + 2

        def total() -> int:
            return sum(each["data"]["count"] for each in self.receiver.of("denial.first", "denial.summary"))

        self.wait_until(lambda: total() >= DENIALS, "all denials are counted")
        self.assertEqual(total(), DENIALS)
        (first,) = self.receiver.of("denial.first")
        self.assertLessEqual(len(self.receiver.of("denial.summary")), intervals)
        self.assertEqual((first["data"]["ruleId"], first["data"]["client"]), ("closed", "127.0.0.1"))
        self.assertEqual(first["link"], f"https://console.example/console/requests/{first['data']['requestId']}")
        self.assertNotIn("hunter2", json.dumps(self.receiver.messages))

    def approval(self, proxy: Proxy, admin: str) -> None:
        """An approver learns of a pending approval, and its id is the one that the command takes."""
        statuses: list[int] = []
        asking = threading.Thread(target=lambda: statuses.append(self.request(proxy, "/files/hello.txt", "PUT")))
        asking.start()
        (pending,) = self.got("approval.pending")
        self.assertEqual(pending["data"]["ruleId"], "look")
        self.assertEqual(pending["link"], "https://console.example/console/approvals")
        done = run_egress("approvals", "deny", pending["data"]["id"], EGRESS_ADMIN=admin)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        asking.join(60)
        self.assertEqual(statuses, [403])

    def policy(self, policy: Path) -> None:
        """A policy that both workers cannot load is one message, and so is the next one that they can load."""
        policy.write_text("garbage", "utf-8")
        (failed,) = self.got("policy.failed")
        self.assertIn("policy.toml", failed["data"]["error"])
        policy.write_text(POLICY, "utf-8")
        self.assertEqual(len(self.got("policy.loaded")), 1)
        self.assertEqual(len(self.receiver.of("policy.failed")), 1)

    def replace_webhooks(self, proxy: Proxy) -> None:
        """SIGHUP adds a webhook; an invalid file changes nothing."""
        other = Receiver()
        self.addCleanup(other.stop)
        self.urls.write_text(f"{self.receiver.url}\n{other.url}\n")
        os.kill(proxy.pid, signal.SIGHUP)

        self.wait_until(lambda: "configuration files reloaded" in proxy.process.output(), "the reload")
        self.assertEqual(self.request(proxy, "/closed/replaced", host="replaced.test"), 403)
        self.wait_until(lambda: bool(other.messages), "a message to the new webhook")
        before = len(self.receiver.of("policy.failed"))
        self.urls.write_text("ftp://a.test/\n")
        os.kill(proxy.pid, signal.SIGHUP)
        failed = self.got("policy.failed", number=before + 1)[-1]
        self.assertIn("--notify-url-file", failed["data"]["error"])
        self.assertIn("--notify-url-file", proxy.process.output())
        self.urls.write_text(f"{self.receiver.url}\n")
        os.kill(proxy.pid, signal.SIGHUP)
        self.got("policy.loaded", number=2)
        other.stop()

    def receiver_down(self, proxy: Proxy) -> None:
        """A receiver that is down gets the message when it is back, in each attempt with the same id."""
        self.receiver.stop()
        self.assertEqual(self.request(proxy, "/closed/other", host="localhost"), 403)
        self.wait_until(lambda: "are not delivered: the connection was refused" in proxy.process.output(), "refused")
        self.receiver.status = 503
        before = len(self.receiver.attempts)
        self.receiver.start()
        self.wait_until(lambda: len(self.receiver.attempts) > before, "an attempt")
        self.receiver.status = 204
        host = f"localhost:{self.origins.http}"

        def found() -> list[dict[str, Any]]:
            return [each for each in self.receiver.of("denial.first") if each["data"]["host"] == host]

        self.wait_until(lambda: bool(found()), "the message")
        (other,) = found()
        attempts = self.receiver.attempts[before:]
        self.assertEqual(set(attempts), {other["id"]})
        self.assertGreaterEqual(len(attempts), 2)

    def stop(self, proxy: Proxy) -> None:
        """What happens just before the end is still sent."""
        self.assertEqual(self.request(proxy, "/closed/last", host="last.test"), 403)
        proxy.process.stop()
        last = self.receiver.of("denial.first")[-1]
        self.assertEqual(last["data"]["host"], f"last.test:{self.origins.http}")


class BreakerTests(NotificationsTestCase):
    """A circuit breaker that opens and closes in two workers is two messages."""

    def test_breaker(self) -> None:
        port = free_port()
        proxy = self.start("--authz-url", f"http://127.0.0.1:{port}", "--authz-breaker-failures", "1")

        def all_log(words: str) -> bool:
            # Connections are distributed by the kernel: some requests reach each worker.
            self.request(proxy, "/files/hello.txt")
            return proxy.process.output().count(words) >= WORKERS

        self.wait_until(lambda: all_log("circuit breaker opened"), "open in both workers")
        program = [sys.executable, str(HERE / "plain_authz.py"), str(port), "0"]
        service = Process(program, self.directory, "authz")
        self.addCleanup(service.stop)
        self.wait_until(lambda: all_log("circuit breaker closed"), "closed in both workers")
        self.got("breaker.closed")
        proxy.process.stop()
        opened, closed = self.receiver.of("breaker.opened", "breaker.closed")
        self.assertEqual((opened["type"], opened["data"]), ("breaker.opened", {"cause": "the connection failed"}))
        self.assertEqual((opened["severity"], closed["type"]), ("critical", "breaker.closed"))
        self.assert_valid()


class HangingReceiverTests(NotificationsTestCase):
    """A receiver that does not respond delays no request, and the end of the proxy only for a moment."""

    def test_hanging(self) -> None:
        proxy = self.start("--policy", str(self.write("policy.toml", POLICY)), workers=1)
        self.receiver.open.clear()
        self.assertEqual(self.request(proxy, "/closed/1"), 403)
        self.wait_until(lambda: self.receiver.attempts, "the message waits for its response")
        begun = time.monotonic()
        for number in range(50):
            self.assertEqual(self.request(proxy, f"/closed/{number}"), 403)
            self.assertEqual(self.request(proxy, "/files/hello.txt"), 200)
        # Any of them would wait for ten seconds.
        self.assertLess(time.monotonic() - begun, 10.0)
        begun = time.monotonic()
        os.kill(proxy.pid, signal.SIGTERM)
        proxy.process.popen.wait(20)
        self.assertLess(time.monotonic() - begun, 5.0)
        self.assertIn("are dropped: the proxy stops", proxy.process.output())


class CommandTests(NotificationsTestCase):
    """C{egress notify test} sends a message, and C{egress check} connects."""

    def test_command(self) -> None:
        done = run_egress("notify", "test", *self.notifying())
        self.assertRegex(done.stdout, rf"^ok       http://127\.0\.0\.1:{self.receiver.port} \(json\): status 204 \(")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([message["type"] for message in self.receiver.messages], ["test"])
        self.assert_valid()
