"""Decisions on compressed content and on forms, with real clients; the origin gets the content as it was sent."""

from __future__ import annotations

import gzip
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import brotli
import requests
from backports import zstd

from tests.integration.base import IntegrationTestCase, Proxy

POLICY = """
version = 1

[[rules]]
name = "no-production"
action = "deny"
reason = "deployments to production are made by hand"
paths = ["/deploy"]
json = { environment = "prod*" }

[[rules]]
name = "deploy"
action = "allow"
paths = ["/deploy"]
json = { environment = "*" }

[[rules]]
name = "small-payments"
action = "allow"
paths = ["/payments"]
form = { amount = "re:[0-9]{1,3}", refund = false }

[[rules]]
name = "reports"
action = "allow"
paths = ["/reports"]
form = { title = "report*" }
files = { document = "*.pdf" }
file_types = { document = "application/pdf" }
"""

FINE = json.dumps({"environment": "test", "steps": list(range(500))}).encode()
DENIED = FINE.replace(b"test", b"production")
# Without the time, each call returns the same.
ENCODERS: dict[str, Any] = {"gzip": partial(gzip.compress, mtime=0), "br": brotli.compress, "zstd": zstd.compress}


class Recorder:
    """An origin that records content, after the transfer coding is removed."""

    def __init__(self) -> None:
        received: list[tuple[str | None, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.headers["Content-Encoding"], content))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """Stop the origin."""
        self._server.shutdown()
        self._server.server_close()


class ContentTests(IntegrationTestCase):
    """curl and Python requests, an origin, and an authorization service."""

    def setUp(self) -> None:
        super().setUp()
        self.origin = Recorder()
        self.addCleanup(self.origin.stop)

    def file(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def post(self, proxy: Proxy, path: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Send a POST request with curl; return the status and the problem document."""
        status, content = self.fetch(proxy, self.origin.url + path, *arguments)
        return status, json.loads(content) if content else {}

    def upload(self, proxy: Proxy, coding: str, data: bytes) -> tuple[int, dict[str, Any]]:
        """Send compressed JSON with curl."""
        fields = ("-H", "Content-Type: application/json", "-H", f"Content-Encoding: {coding}")
        return self.post(proxy, "/deploy", *fields, "--data-binary", f"@{self.file('upload', data)}")

    def test_policy(self) -> None:
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", POLICY)))
        for coding, encode in ENCODERS.items():
            with self.subTest(coding):
                self.assertEqual(self.upload(proxy, coding, encode(FINE))[0], 200)
                self.assertEqual(self.origin.received.pop(), (coding, encode(FINE)))
                status, problem = self.upload(proxy, coding, encode(DENIED))
                self.assertEqual((status, problem["ruleId"]), (403, "no-production"))
                status, problem = self.upload(proxy, coding, encode(FINE)[:-9])
                self.assertEqual((status, problem["ruleId"]), (403, "no-production"))
                self.assertIn(f"its content is not complete, valid {coding}", problem["detail"])
        for expected, fields in (
            (200, ("amount=100", "currency=eur")),
            (403, ("amount=10000", "currency=eur")),
            (403, ("amount=100", "refund=yes")),
        ):
            arguments = [argument for field in fields for argument in ("-d", field)]
            self.assertEqual(self.post(proxy, "/payments", *arguments)[0], expected, fields)
        self.assertEqual(self.origin.received.pop(), (None, b"amount=100&currency=eur"))
        pdf = self.file("may.pdf", b"%PDF-1.7\r\n--")
        for expected, title, name, kind in (
            (200, "report for May", "may.pdf", "application/pdf"),
            (403, "invoice", "may.pdf", "application/pdf"),
            (403, "report for May", "may.exe", "application/pdf"),
            (403, "report for May", "may.pdf", "text/html"),
        ):
            document = f"document=@{pdf};filename={name};type={kind}"
            status, _ = self.post(proxy, "/reports", "-F", f"title={title}", "-F", document)
            self.assertEqual(status, expected, (title, name, kind))
        self.assertIn(b"\r\n\r\n%PDF-1.7\r\n--\r\n", self.origin.received.pop()[1])
        session = requests.Session()
        session.proxies = {"http": proxy.url}
        files = {"document": ("may.pdf", pdf.read_bytes(), "application/pdf")}
        coded = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        for request in (
            requests.Request("POST", f"{self.origin.url}/reports", data={"title": "report"}, files=files),
            requests.Request("POST", f"{self.origin.url}/payments", data={"amount": "7"}),
            requests.Request("POST", f"{self.origin.url}/deploy", data=ENCODERS["gzip"](FINE), headers=coded),
        ):
            prepared = session.prepare_request(request)
            response = session.send(prepared, timeout=30, proxies=session.proxies)
            self.assertEqual(response.status_code, 200, response.text)
            sent = prepared.body if isinstance(prepared.body, bytes) else str(prepared.body).encode()
            self.assertEqual(self.origin.received.pop()[1], sent)
        self.assertEqual(self.origin.received, [])

    def test_authorization_service(self) -> None:
        service, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", service, "--authz-decode-body")
        long = json.dumps(list(range(300_000))).encode()
        cases: list[tuple[str, bytes, str | None, str | None]] = [
            (coding, encode(long), long.decode(), None) for coding, encode in ENCODERS.items()
        ]
        cases.append(("gzip", gzip.compress(FINE)[:-1], None, "its content is not complete, valid gzip"))
        for coding, data, _, _ in cases:
            self.assertEqual(self.upload(proxy, coding, data)[0], 200)
            self.assertEqual(self.origin.received.pop(), (coding, data))
        questions = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
        self.assertEqual(len(questions), len(cases))
        for question, (_, _, decoded, error) in zip(questions, cases, strict=True):
            self.assertEqual((question["bodyEncoding"], question.get("decodedBody")), ("base64", decoded))
            self.assertIn(error or "", question.get("decodedBodyError", ""))
