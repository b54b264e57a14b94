"""Tests for L{egress.cli.admin_client}; the proxy is a connection with prepared responses."""

from __future__ import annotations

import argparse
import io
import json
import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.admin_client import AdminApi, AdminFailed, add_options, admin_api
from egress.cli.errors import CommandFailed
from egress.config.admin_endpoint import AdminEndpoint
from egress.config.model import ConfigError


class FakeSocket:
    """A socket whose other end has already responded."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.sent = b""
        self.connected: Any = None
        self.closed = False

    def settimeout(self, seconds: float) -> None:
        self.seconds = seconds

    def connect(self, where: object) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.connected = where

    def setsockopt(self, *_: object) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def makefile(self, mode: str) -> io.BytesIO:
        assert isinstance(self.answer, bytes)
        return io.BytesIO(self.answer)

    def close(self) -> None:
        self.closed = True


def answer(status: str, document: object) -> bytes:
    """The response of a proxy."""
    body = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class SocketTestCase(SynchronousTestCase):
    """The other end of each connection has already responded."""

    def say(self, said: bytes | Exception) -> None:
        self.socket = FakeSocket(said)
        self.patch(socket, "socket", lambda *_: self.socket)

        def create(where: object, *_: object) -> FakeSocket:
            self.socket.connect(where)
            return self.socket

        self.patch(socket, "create_connection", create)


class AdminApiTests(SocketTestCase):
    """Requests over both kinds of socket."""

    def api(self, said: bytes | Exception, where: str = "unix:/a.sock", secret: str | None = None) -> AdminApi:
        self.say(said)
        return AdminApi(AdminEndpoint.parse(where), secret)

    def test_unix(self) -> None:
        found = self.api(answer("200 OK", {"a": 1})).call("GET", "/approvals")
        self.assertEqual((found, self.socket.connected, self.socket.closed), ({"a": 1}, "/a.sock", True))
        self.assertIn(b"GET /approvals HTTP/1.1\r\nHost: localhost", self.socket.sent)
        self.assertNotIn(b"Authorization", self.socket.sent)

    def test_tcp(self) -> None:
        api = self.api(answer("200 OK", {}), "tcp:9099", "hunter2")
        self.assertEqual(api.call("POST", "/approvals/a", {"answer": "deny"}), {})
        self.assertEqual(self.socket.connected, ("127.0.0.1", 9099))
        self.assertIn(b"Authorization: Bearer hunter2\r\n", self.socket.sent)
        self.assertIn(b"Content-Type: application/json\r\n", self.socket.sent)
        self.assertTrue(self.socket.sent.endswith(b'{"answer": "deny"}'))

    def test_error_response(self) -> None:
        api = self.api(answer("404 Not Found", {"error": "nobody waits"}))
        error = self.assertRaises(AdminFailed, api.call, "GET", "/")
        self.assertEqual((str(error), error.status), ("nobody waits", 404))
        api = self.api(answer("404 Not Found", {}))
        self.assertEqual(str(self.assertRaises(AdminFailed, api.call, "GET", "/")), "Not Found")

    def test_connection_failure(self) -> None:
        for said, words in (
            (TimeoutError(), "does not respond"),
            (FileNotFoundError(2, "No such file or directory"), "No such file or directory; is the proxy running?"),
            (b"SSH-2.0-x\r\n", "not an egress proxy"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "not an egress proxy"),
            (answer("200 OK", []), "not an egress proxy"),
        ):
            with self.subTest(words):
                self.assertIn(words, str(self.assertRaises(CommandFailed, self.api(said).call, "GET", "/")))


class OptionsTests(SocketTestCase):
    """The endpoint of the API, and the token."""

    def find(self, *arguments: str, **environ: str) -> AdminApi:
        parser = argparse.ArgumentParser()
        add_options(parser)
        return admin_api(parser.parse_args(arguments), environ)

    def called(self, *arguments: str, **environ: str) -> FakeSocket:
        """Send a request, and return its socket."""
        self.say(answer("200 OK", {}))
        self.find(*arguments, **environ).call("GET", "/approvals")
        return self.socket

    def test_endpoint(self) -> None:
        for arguments, environ in (
            (("--admin", "unix:/a"), {}),
            ((), {"EGRESS_ADMIN": "unix:/a:mode=660"}),
            (("--admin", "unix:/a"), {"EGRESS_ADMIN": "unix:/b"}),
        ):
            self.assertEqual(self.called(*arguments, **environ).connected, "/a")
        self.assertEqual(self.called("--admin", "unix:a").connected, str(Path.cwd() / "a"))

    def test_the_token(self) -> None:
        file = Path(self.mktemp())
        file.write_text("from-file\n")
        for arguments, environ, secret in (
            ((), {}, None),
            (("--token-file", str(file)), {"EGRESS_ADMIN_TOKEN": "x"}, "from-file"),
            ((), {"EGRESS_ADMIN_TOKEN_FILE": str(file)}, "from-file"),
            ((), {"EGRESS_ADMIN_TOKEN": "x"}, "x"),
        ):
            sent = self.called("--admin", "tcp:9099", *arguments, **environ).sent
            expected = [] if secret is None else [f"Authorization: Bearer {secret}".encode()]
            self.assertEqual([line for line in sent.splitlines() if line.startswith(b"Authorization")], expected)

    def test_refused(self) -> None:
        self.assertIn("EGRESS_ADMIN", str(self.assertRaises(CommandFailed, self.find)))
        for arguments, environ, option in (
            (("--admin", "http://example.com"), {}, "--admin"),
            (("--admin", "unix:a\0b"), {}, "--admin"),
            ((), {"EGRESS_ADMIN": "x"}, "EGRESS_ADMIN"),
            (("--admin", "unix:/a", "--token-file", "missing"), {}, "--token-file"),
            (("--admin", "unix:/a"), {"EGRESS_ADMIN_TOKEN": "hunter 2"}, "EGRESS_ADMIN_TOKEN"),
        ):
            with self.subTest(option):
                error = self.assertRaises(ConfigError, self.find, *arguments, **environ)
                self.assertEqual(error.option, option)
                self.assertNotIn("hunter", str(error))
