"""The authorization request, and what happens without a decision."""

from __future__ import annotations

import base64
import json
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.integration.bad_authz import CASES, GOOD, BadAuthorizationService
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy
from tests.integration.processes import HERE, Process, free_port

DOCUMENTED = {"url", "method", "headers", "queryParams", "body"}


class RequestTests(IntegrationTestCase):
    """The five fields, exactly as in the contract."""

    def ask(self, path: str, *arguments: str) -> tuple[str, dict[str, Any]]:
        """Send one request with curl.

        @return: its URL, and the authorization request for it.
        """
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        target = self.origins.https_url(path)
        status, _ = self.fetch(proxy, target, *arguments)
        self.assertEqual(status, 200)
        (question,) = map(json.loads, record.read_text("utf-8").splitlines())
        for name in DOCUMENTED & set(question):
            self.assertIsInstance(question[name], str, name)
        return target, question

    def test_get_with_query(self) -> None:
        url, question = self.ask("/echo?a=1&b=two%20words", "-H", "X-Pstmn-Outbound-Identifier: c9-get")
        self.assertEqual((question["url"], question["method"]), (url, "GET"))
        self.assertEqual(question["queryParams"], "a=1&b=two%20words")
        self.assertNotIn("body", question)
        headers = json.loads(question["headers"])
        self.assertEqual(headers["x-pstmn-outbound-identifier"], "c9-get")
        self.assertEqual(headers["host"], f"localhost:{self.origins.https}")
        self.assertEqual(question["stage"], "request")
        self.assertEqual(question["client"]["address"], "127.0.0.1")

    def test_json_post(self) -> None:
        url, question = self.ask("/echo", "-H", "Content-Type: application/json", "-d", '{"name": "värde"}')
        self.assertEqual((question["url"], question["method"]), (url, "POST"))
        self.assertNotIn("queryParams", question)
        self.assertEqual(question["body"], '{"name": "värde"}')
        self.assertEqual(json.loads(question["headers"])["content-type"], "application/json")

    def test_multipart(self) -> None:
        upload = self.write("note.txt", "the content of a file")
        _, question = self.ask("/echo", "-F", f"file=@{upload}", "-F", "field=value")
        self.assertIn("multipart/form-data; boundary=", json.loads(question["headers"])["content-type"])
        self.assertIn("the content of a file", question["body"])
        self.assertIn('name="field"', question["body"])
        self.assertNotIn("bodyEncoding", question)

    def test_binary(self) -> None:
        content = bytes(range(256))
        upload = Path(self.write("binary", ""))
        upload.write_bytes(content)
        _, question = self.ask("/echo", "--data-binary", f"@{upload}")
        self.assertEqual(base64.b64decode(question["body"]), content)
        self.assertEqual(question["bodyEncoding"], "base64")

    def test_chunked(self) -> None:
        _, question = self.ask("/echo", "-H", "Transfer-Encoding: chunked", "-d", "in chunks")
        self.assertEqual(question["body"], "in chunks")

    def test_a_body_over_the_limit_is_rejected(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--body-limit", "1k")
        upload = str(self.write("large", "x" * 5000))
        seen = self.origins.requests_seen()
        for name, arguments in (("length", []), ("chunked", ["-H", "Transfer-Encoding: chunked"])):
            with self.subTest(name):
                problem = self.assert_problem(
                    proxy, self.origins.https_url("/sink"), 413, "request", "-d", f"@{upload}", *arguments
                )
                self.assertIn("--body-limit", problem["reason"])
        self.assertEqual(record.read_text(), "")
        self.assertEqual(self.origins.requests_seen(), seen)

    def test_a_body_over_the_limit_may_be_truncated(self) -> None:
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url, "--body-limit", "1k", "--oversize-body", "truncate")
        upload = str(self.write("large", "x" * 300_000))
        status, content = self.fetch(proxy, self.origins.https_url("/sink"), "-d", f"@{upload}")
        self.assertEqual((status, json.loads(content)["bytes"]), (200, 300_000))
        question = json.loads(record.read_text())
        self.assertEqual((len(question["body"]), question["bodyTruncated"]), (1024, True))


class FailClosedTests(IntegrationTestCase):
    """Without a decision the response is 503, and nothing reaches the origin."""

    def assert_unavailable(self, url: str, *options: str) -> str:
        """Send a request through a proxy with an authorization service at C{url}.

        @return: the reason in the response.
        """
        proxy = self.start_proxy("--authz-url", url, "--authz-timeout", "1", *options)
        seen = self.origins.requests_seen()
        problem: dict[str, Any] = {}
        for target in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            problem = self.assert_problem(proxy, target, 503, "authz-unavailable")
        self.assertEqual(self.origins.requests_seen(), seen)
        self.assertEqual([record["verdict"] for record in self.records(proxy, 2)], ["unavailable"] * 2)
        return str(problem["reason"])

    def test_connection_refused(self) -> None:
        self.assertIn("refused", self.assert_unavailable(f"http://127.0.0.1:{free_port()}"))

    def test_https_with_an_unknown_ca(self) -> None:
        # The port of the origin whose certificate is not trusted here.
        reason = self.assert_unavailable(f"https://127.0.0.5:{self.origins.https}")
        self.assertIn("127.0.0.5", reason)

    def assert_case(self, name: str) -> None:
        behaviour, words = CASES[name]
        service = BadAuthorizationService(behaviour)
        self.addCleanup(service.stop)
        reason = self.assert_unavailable(service.url)
        self.assertIn("the authorization service", reason)
        self.assertIn(words, reason)

    def test_the_same_service_with_a_valid_response(self) -> None:
        """The other cases fail because of their behaviour, not because of the service itself."""
        service = BadAuthorizationService(GOOD)
        self.addCleanup(service.stop)
        proxy = self.start_proxy("--authz-url", service.url, "--authz-timeout", "1")
        for target in (self.origins.http_url("/echo"), self.origins.https_url("/echo")):
            self.assertEqual(self.fetch(proxy, target)[0], 200)


def _add_cases() -> None:
    """Add one test for each case, so that a run names the cases that fail."""
    for name in CASES:

        def test(self: FailClosedTests, name: str = name) -> None:
            self.assert_case(name)

        setattr(FailClosedTests, f"test_{name.replace(' ', '_').replace('-', '_')}", test)


_add_cases()


class HttpsServiceTests(IntegrationTestCase):
    """An authorization service over HTTPS, with an extra CA."""

    def test_nginx_in_front_of_the_service(self) -> None:
        # The HTTPS origin responds: JSON without a decision, which proves that TLS was accepted.
        proxy = self.start_proxy("--authz-url", self.origins.https_url("/authz"))
        problem = self.assert_problem(proxy, self.origins.http_url("/echo"), 503, "authz-unavailable")
        self.assertIn("'allowed' is missing", problem["reason"])


class CircuitBreakerTests(IntegrationTestCase):
    """A service that is killed, stopped, restarted or overloaded."""

    def setUp(self) -> None:
        super().setUp()
        self.port, self.metrics = free_port(), free_port()

    def start_service(self, seconds: float = 0.0) -> Process:
        """Start a service that allows everything, after this many seconds."""
        arguments = [sys.executable, str(HERE / "plain_authz.py"), str(self.port), str(seconds)]
        service = Process(arguments, self.directory, "plain-authz")
        self.addCleanup(service.stop)
        service.wait_for_port(self.port)
        return service

    def start(self, *options: str) -> Proxy:
        """Start a proxy in one process, which uses that service."""
        return self.start_proxy(
            *("--authz-url", f"http://127.0.0.1:{self.port}"),
            *("--metrics-port", str(self.metrics)),
            *ONE_PROCESS,
            *options,
        )

    def page(self, path: str) -> tuple[int, str]:
        """Return a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8")

    def number(self, name: str) -> float:
        """Return one of the authorizer's metrics."""
        _, text = self.page("/metrics")
        (value,) = [line.split()[-1] for line in text.splitlines() if line.startswith(f"egress_authorizer_{name} ")]
        return float(value)

    def refused(self, proxy: Proxy, words: str) -> float:
        """Send a request that must be rejected.

        @return: its duration, according to the audit log.
        """
        problem = self.assert_problem(proxy, self.origins.http_url("/echo"), 503, "authz-unavailable")
        self.assertIn(words, problem["reason"])
        self.wait_until(lambda: proxy.records()[-1]["requestId"] == problem["decisionId"], "the record")
        return float(proxy.records()[-1]["durationMs"]) / 1000

    def allowed(self, proxy: Proxy) -> bool:
        """Return whether a request is allowed."""
        return self.fetch(proxy, self.origins.http_url("/echo"))[0] == 200

    def test_killed_and_restarted(self) -> None:
        service = self.start_service()
        proxy = self.start("--authz-breaker-failures", "2")
        self.assertTrue(self.allowed(proxy))
        seen = self.origins.requests_seen()
        service.popen.kill()
        service.popen.wait()
        for _ in range(2):
            self.refused(proxy, "refused the connection")
        self.assertLess(self.refused(proxy, "the connection failed"), 0.5)
        self.assertEqual(self.number('breaker{state="open"}'), 1)
        self.assertEqual(self.number('failures_total{kind="connection"}'), 2)
        self.assertEqual(self.number('rejected_total{reason="open"}'), 1)
        status, text = self.page("/health/ready")
        self.assertEqual(status, 503)
        self.assertIn("the authorizer circuit breaker is open", json.loads(text)["checks"]["authorizer"])
        self.assertEqual(self.origins.requests_seen(), seen)
        self.start_service()
        # The circuit breaker closes without any request.
        self.wait_until(lambda: self.page("/health/ready")[0] == 200, "ready again")
        self.assertEqual(self.number('breaker{state="half-open"}'), 1)
        self.assertTrue(self.allowed(proxy))
        self.assertEqual(self.number('breaker{state="closed"}'), 1)
        self.assertEqual(self.number("breaker_opened_total"), 1)
        self.assertEqual(self.origins.requests_seen(), seen + 1)

    def test_hanging_service(self) -> None:
        service = self.start_service()
        proxy = self.start("--authz-breaker-failures", "2", "--authz-timeout", "500ms")
        self.assertTrue(self.allowed(proxy))
        seen = self.origins.requests_seen()
        # The kernel continues to accept connections for it.
        service.popen.send_signal(signal.SIGSTOP)
        self.addCleanup(service.popen.send_signal, signal.SIGCONT)
        for _ in range(2):
            self.assertGreater(self.refused(proxy, "did not respond within 0.5 s"), 0.4)
        self.assertLess(self.refused(proxy, "the request timed out"), 0.25)
        self.assertEqual(self.number('failures_total{kind="timeout"}'), 2)
        # One request detects that the service only appears to be available.
        self.wait_until(lambda: self.number('breaker{state="half-open"}'), "half open")
        self.refused(proxy, "did not respond within 0.5 s")
        self.assertEqual(self.number('breaker{state="open"}'), 1)
        self.refused(proxy, "circuit breaker is open")
        self.assertEqual(self.origins.requests_seen(), seen)
        service.popen.send_signal(signal.SIGCONT)
        self.wait_until(lambda: self.allowed(proxy), "allowed again")
        self.assertEqual(self.number('breaker{state="closed"}'), 1)

    def test_overload(self) -> None:
        """With a concurrency limit of one and a queue of one, the third request is rejected immediately."""
        self.start_service(1.0)
        # Identical requests would share one authorization request instead of waiting in the queue.
        proxy = self.start("--authz-max-concurrency", "1", "--authz-queue", "1", "--authz-cache", "none")
        seen = self.origins.requests_seen()
        found: list[bool] = []
        clients = [threading.Thread(target=lambda: found.append(self.allowed(proxy))) for _ in range(2)]
        for client in clients:
            client.start()
        numbers = ("requests_in_progress", "requests_queued")
        self.wait_until(lambda: all(self.number(name) == 1 for name in numbers), "one is sent, and one waits")
        self.assertLess(self.refused(proxy, "1 requests are in progress and 1 are queued"), 0.25)
        done = self.curl(proxy, "-i", self.origins.http_url("/echo"))
        self.assertIn("\nRetry-After: 1\n", done.stdout)
        for client in clients:
            client.join(30)
        self.assertEqual(found, [True, True])
        self.assertEqual(self.number('rejected_total{reason="overload"}'), 2)
        self.assertEqual(self.origins.requests_seen(), seen + 2)

    def test_more_clients_than_the_concurrency_limit(self) -> None:
        """By default they only wait for a healthy service: one second of it is worth 12,800 authorization requests."""
        self.start_service(0.02)
        proxy = self.start()
        url = self.origins.http_url("/files/hello.txt")
        host = url.split("/")[2]
        clients = []
        for _ in range(512):
            client = socket.create_connection(("127.0.0.1", proxy.port), 30)
            self.addCleanup(client.close)
            clients.append(client)
        for client in clients:
            client.sendall(f"GET {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        for client in clients:
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:500])
        self.assertEqual(self.number('breaker{state="closed"}'), 1)
        self.assertEqual(self.number('rejected_total{reason="overload"}'), 0)
