"""The origins: nginx for HTTP and HTTPS in front of a small Express application, started once for all tests."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.certificates import TestCA, self_signed
from tests.integration.processes import HERE, Process, free_port, node_module, program

BIG = 2 * 1024**3
# A User-Agent that no client of a test has.
_SETTLED = "settled"

# A name of the good origin, for a DNS server of a test: some clients contact loopback hosts without a proxy.
ORIGIN = "origin.test"
# A loopback address for each certificate fault.
GOOD, EXPIRED, WRONG_HOST, SELF_SIGNED, UNKNOWN_ROOT = (f"127.0.0.{number}" for number in range(1, 6))

_SERVER = """
    server {{
        listen {listen};
        {tls}
        access_log {directory}/{name}.access.log;
        root {directory}/www;
        location /files/ {{ }}
        location / {{
            proxy_pass http://127.0.0.1:{app};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
"""

_CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""

_HTTP = """
    client_max_body_size 0;
    gzip on;
    gzip_min_length 1;
    gzip_proxied any;
    gzip_types application/json;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
"""


def start_nginx(directory: Path, http: str, port: int) -> Process:
    """Start nginx.

    @param directory: the directory for all its files.
    @param http: the content of the block C{http}.
    @param port: a port on which it listens.
    """
    nginx = program("nginx")
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, http=http), "utf-8")
    process = Process([nginx, "-c", str(config)], directory, "nginx")
    process.wait_for_port(port)
    return process


class Origins:
    """The running origins.

    @ivar http: the port for HTTP, on all loopback addresses.
    @ivar https: the port for HTTPS; the certificate depends on the address.
    @ivar app: the port of the application itself.
    @ivar ca: a PEM file with the CA of the good origin.
    """

    def __init__(self) -> None:
        # Find missing programs before anything is started.
        program("nginx")
        node = program("node")
        node_module("express")
        self.directory = Path(tempfile.mkdtemp(prefix="egress-origins-"))
        self.directory.chmod(0o755)
        atexit.register(shutil.rmtree, self.directory, True)
        self.http, self.https, self.app = free_port(), free_port(), free_port()
        self._settled = 0
        self._express = Process([node, str(HERE / "app.js"), str(self.app)], self.directory, "app")
        self._express.wait_for_port(self.app)
        files = self.directory / "www" / "files"
        files.mkdir(parents=True)
        (files / "hello.txt").write_text("hello\n")
        with (files / "big").open("wb") as big:
            big.truncate(BIG)
        self.ca = self._write_certificates()
        self._nginx = start_nginx(self.directory, _HTTP + self._servers(), self.https)

    def _write_certificates(self) -> Path:
        ca, stranger = TestCA("test CA"), TestCA("unknown CA")
        for address, certificate in (
            (GOOD, ca.issue("localhost", ORIGIN, GOOD, "::1")),
            (EXPIRED, ca.issue(EXPIRED, expired=True)),
            (WRONG_HOST, ca.issue("other.test")),
            (SELF_SIGNED, self_signed(SELF_SIGNED)),
            (UNKNOWN_ROOT, stranger.issue(UNKNOWN_ROOT)),
        ):
            certificate.write(self.directory, address)
        return ca.write(self.directory, "trusted")

    def _servers(self) -> str:
        servers = [
            _SERVER.format(listen=f"127.0.0.1:{self.http}", tls="", name="http", directory=self.directory, app=self.app)
        ]
        for address in (GOOD, EXPIRED, WRONG_HOST, SELF_SIGNED, UNKNOWN_ROOT):
            certificate, key = sorted(self.directory.glob(f"{address}*.pem"), key=lambda path: "key" in path.name)
            tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
            servers.append(
                _SERVER.format(
                    listen=f"{address}:{self.https} ssl", tls=tls, name=address, directory=self.directory, app=self.app
                )
            )
        return "".join(servers)

    def http_url(self, path: str) -> str:
        """Return a URL of the HTTP origin."""
        return f"http://127.0.0.1:{self.http}{path}"

    def https_url(self, path: str, host: str = "localhost") -> str:
        """Return a URL of an HTTPS origin."""
        return f"https://{host}:{self.https}{path}"

    def access_log(self, name: str = "http") -> list[str]:
        """Return the requests that reached an origin: C{"http"}, or the address of an HTTPS origin."""
        log = self.directory / f"{name}.access.log"
        return log.read_text().splitlines() if log.exists() else []

    def requests_seen(self) -> int:
        """Return how many requests reached any origin."""
        self._settle()
        names = ("http", GOOD, EXPIRED, WRONG_HOST, SELF_SIGNED, UNKNOWN_ROOT)
        return sum(_SETTLED not in line for name in names for line in self.access_log(name))

    def _settle(self) -> None:
        """Wait until all responses are logged: nginx writes the line just after the response."""
        self._settled += 1
        mark = f"{_SETTLED}={self._settled} "
        with urllib.request.urlopen(self.http_url(f"/files/hello.txt?{mark.strip()}"), timeout=20) as answer:
            answer.read()
        deadline = time.monotonic() + 20
        while not any(mark in line for line in self.access_log()):
            if time.monotonic() > deadline:
                raise AssertionError("nginx has not written its log")
            time.sleep(0.005)


@functools.cache
def origins() -> Origins:
    """Return the origins; start them on first use."""
    return Origins()
