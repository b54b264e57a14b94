"""Tests for L{egress.cli.console}."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import console as module
from egress.cli import main as cli
from egress.cli.admin_client import AdminApi, AdminFailed
from egress.config.admin_endpoint import AdminEndpoint

TCP = "tcp:9099"
UNIX = "unix:/run/egress/admin.sock"


class FakeApi(AdminApi):
    """An API that makes one link."""

    def __init__(self, endpoint: str, error: Exception | None = None) -> None:
        super().__init__(AdminEndpoint.parse(endpoint), None)
        self.error = error
        self.asked: list[Any] = []

    def call(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        self.asked.append((method, path, document))
        if self.error is not None:
            raise self.error
        return {"path": "/console/sign-in?code=abc", "role": "admin", "expiresIn": 60.0}


class ConsoleCommandTests(SynchronousTestCase):
    """The link, for each endpoint."""

    def run_console(self, *arguments: str, api: FakeApi) -> tuple[int, str, str]:
        self.patch(module, "admin_api", lambda given, environ: api)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main(["console", *arguments], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def test_link(self) -> None:
        api = FakeApi(TCP)
        status, out, err = self.run_console(api=api)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines()[0], "http://127.0.0.1:9099/console/sign-in?code=abc")
        self.assertIn("as admin, within 60 seconds", out)
        self.assertNotIn("ssh", out)
        self.assertEqual(api.asked, [("POST", "/console-sessions", {"role": "admin"})])

    def test_viewer(self) -> None:
        api = FakeApi(TCP)
        self.run_console("--viewer", api=api)
        self.assertEqual(api.asked[0][2], {"role": "viewer"})

    def test_socket(self) -> None:
        """A browser reaches a UNIX socket by a port that SSH forwards."""
        out = self.run_console(api=FakeApi(UNIX))[1]
        self.assertIn("http://localhost:9099/console/sign-in?code=abc\n", out)
        self.assertIn("ssh -L 9099:/run/egress/admin.sock", out)

    def test_url(self) -> None:
        out = self.run_console("--url", "https://proxy.example/", api=FakeApi(UNIX))[1]
        self.assertIn("https://proxy.example/console/sign-in?code=abc\n", out)
        self.assertNotIn("ssh", out)

    def test_invalid_urls(self) -> None:
        self.patch(sys, "stderr", io.StringIO())
        for text in ("localhost:9099", "http://", "http://a/b", "http://u@a", "file:///a"):
            with self.subTest(text):
                error = self.assertRaises(SystemExit, self.run_console, "--url", text, api=FakeApi(TCP))
                self.assertEqual(error.code, 2)

    def test_json(self) -> None:
        document = json.loads(self.run_console("--json", api=FakeApi(TCP))[1])
        url = "http://127.0.0.1:9099/console/sign-in?code=abc"
        self.assertEqual(document, {"url": url, "role": "admin", "expiresIn": 60.0})

    def test_errors(self) -> None:
        for error, words in (
            (AdminFailed("use /approvals", 404), "has no web console"),
            (AdminFailed("send the token", 401), "send the token"),
        ):
            status, out, err = self.run_console(api=FakeApi(TCP, error))
            self.assertEqual((status, out), (1, ""))
            self.assertIn(words, err)
