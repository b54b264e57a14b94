"""A Git server over HTTPS: C{git http-backend}, which permits pushes."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.integration.peers import GOOD, origins
from tests.integration.processes import environment, program

_IDENTITY: Final = ("-c", "user.name=a", "-c", "user.email=a@b.test")


class _Handler(BaseHTTPRequestHandler):
    """Runs the CGI program (RFC 3875) for each request."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_GET(self) -> None:
        self._run(b"")

    def do_POST(self) -> None:
        self._run(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _run(self, content: bytes) -> None:
        path, _, query = self.path.partition("?")
        variables = environment(
            GIT_PROJECT_ROOT=str(self.root),
            GIT_HTTP_EXPORT_ALL="1",
            # A push requires a user.
            REMOTE_USER="tester",
            REQUEST_METHOD=self.command,
            PATH_INFO=path,
            QUERY_STRING=query,
            CONTENT_TYPE=self.headers.get("Content-Type", ""),
            CONTENT_LENGTH=str(len(content)),
            HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
            GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
        )
        command = [program("git"), "http-backend"]
        output = subprocess.run(command, input=content, capture_output=True, env=variables, check=False).stdout
        head, _, body = output.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Write no log."""


class GitOrigin:
    """The running server.

    @ivar directory: has the repositories.
    @ivar port: the port for HTTPS.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="egress-git-"))
        atexit.register(shutil.rmtree, self.directory, True)
        handler = type("Handler", (_Handler,), {"root": self.directory})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = sorted(origins().directory.glob(f"{GOOD}*.pem"), key=lambda path: "key" in path.name)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.port = int(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def make(self, name: str) -> Path:
        """Make a repository with one commit.

        @param name: the name, unique among all tests.
        @return: its directory.
        """
        path = self.directory / name
        git("init", "-q", "--bare", str(path))
        copy = self.directory / f"{name}.copy"
        git("clone", "-q", str(path), str(copy))
        commit(copy, "first")
        git("-C", str(copy), "push", "-q", "origin", "HEAD")
        return path


def commit(copy: Path, message: str) -> None:
    """Add a commit to a working copy."""
    git(*_IDENTITY, "-C", str(copy), "commit", "-q", "--allow-empty", "-m", message)


def git(*words: str) -> str:
    """Run git without a proxy.

    @return: its output.
    """
    # The configuration of the user has no effect.
    variables = environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull)
    command = [program("git"), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=variables).stdout


@functools.cache
def git_origin() -> GitOrigin:
    """Return the server; start it on first use."""
    return GitOrigin()
