"""Try an installed proxy: C{python -I tests/smoke.py BUILD}, with the Python of the environment.

C{-I} is needed: packages in this directory are named like packages of Python.

It fetches a page through the proxy over HTTP and over intercepted HTTPS, has one request denied, and compares the name
of the build.  It needs no more than the package and its dependencies, so each release wheel is tested by it.
"""

from __future__ import annotations

import datetime
import http.client
import http.server
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

POLICY = """
version = 1
[[rules]]
action = "deny"
reason = "closed"
paths = ["/closed"]
[[rules]]
action = "allow"
"""
CONTENT = b"a page of the origin"
_SECONDS = 60


class Page(http.server.BaseHTTPRequestHandler):
    """An origin with one page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def certificate(directory: Path) -> Path:
    """Write a certificate for C{localhost}, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "origin.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def origin(pem: Path | None = None) -> Iterator[int]:
    """Run an origin.

    @param pem: its certificate and key, for HTTPS.
    @return: its port.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def free_port() -> int:
    """Return a port on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int, program: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if program.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def get(port: int, url: str, tls: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """Fetch a page through the proxy, or from it."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
        connection.request("GET", url)
    else:
        authority, _, path = url.partition("/")
        host, _, number = authority.partition(":")
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=tls)
        connection.set_tunnel(host, int(number))
        connection.request("GET", f"/{path}")
    try:
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def requests(directory: Path, port: int, metrics: int, http_port: int, https_port: int) -> dict[str, object]:
    """Send requests through the proxy.

    @return: the results, by what was tried.
    """
    tls = ssl.create_default_context(cafile=str(directory / "ca" / "ca.pem"))
    _, text = get(metrics, "/metrics")
    build = re.search(rb'egress_build_info\{[^}]*build="(\w+)"', text)
    return {
        "http": get(port, f"http://127.0.0.1:{http_port}/"),
        "https": get(port, f"localhost:{https_port}/", tls),
        "denied": get(port, f"localhost:{https_port}/closed", tls)[0],
        "build": "" if build is None else build[1].decode(),
    }


def main(build: str) -> int:
    """Try the installed proxy.

    @return: the exit status.
    """
    version = subprocess.run(
        [sys.executable, "-I", "-m", "egress", "--version"], capture_output=True, text=True, check=True
    ).stdout
    print(version, end="", flush=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "policy.toml").write_text(POLICY, encoding="utf-8")
        pem = certificate(directory)
        port, metrics = free_port(), free_port()
        program = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("egressproxy")), "-n"),
                *("--listen", f"tcp:{port}:interface=127.0.0.1", "--metrics-port", str(metrics)),
                *("--policy", str(directory / "policy.toml"), "--ca-dir", str(directory / "ca")),
                *("--allow-address", "127.0.0.0/8", "--allow-address", "::1/128", "--ssl-extra-ca-certs", str(pem)),
            ],
            cwd=directory,
        )
        try:
            wait_for(port, program)
            with origin() as http_port, origin(pem) as https_port:
                found = requests(directory, port, metrics, http_port, https_port)
        finally:
            program.terminate()
            program.wait(_SECONDS)
    page = (200, CONTENT)
    expected = {"http": page, "https": page, "denied": 403, "build": build}
    print(found, flush=True)
    return 0 if found == expected and f"({build} build" in version else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
