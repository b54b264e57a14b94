"""The origins: one nginx with plain HTTP, HTTPS, and a counter of requests.

nginx answers small requests and downloads itself.  It cannot read a body before it answers without a server behind it,
and an answer before the end of the upload would measure how proxies deal with that.  So uploads go on to a sink.
"""

# ruff: noqa: S603 -- programs of ours and of the system are started, some by their name

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.names import DOMAIN
from tests.certificates import TestCA

BULK_SIZES_MIB = (1, 64, 256, 1024)

_START_DEADLINE = 10.0
# Another benchmark on the same machine begins elsewhere.
_PORTS = range(20_000, 32_000)
_ports = islice(cycle(_PORTS), secrets.randbelow(len(_PORTS)), None)

_CONFIGURATION = """\
{user}
worker_processes 1;
worker_rlimit_nofile {files};
error_log {directory}/error.log warn;
pid {directory}/nginx.pid;
daemon off;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_header_timeout 1h;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server_tokens off;
    upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; }}
    server {{
        listen {plain} backlog=4096;
        listen {tls} ssl backlog=4096;
        ssl_certificate {directory}/origin.pem;
        ssl_certificate_key {directory}/origin-key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:origins:16m;
        location /small/ {{ default_type text/plain; return 200 "$host $request_uri $server_addr\\n"; }}
        location /denied/ {{ default_type text/plain; return 200 "$host $request_uri $server_addr\\n"; }}
        location /token/ {{ default_type text/plain; return 200 "<$http_x_token>\\n"; }}
        location /bulk/ {{ alias {directory}/bulk/; }}
        location = /upload {{
            proxy_pass http://sink;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
    server {{
        listen 127.0.0.1:{status};
        location / {{ stub_status; }}
    }}
}}
"""


class OriginsError(Exception):
    """The origins do not start."""


class Counts(NamedTuple):
    """What the origins have seen."""

    connections: int
    requests: int


@dataclass
class Origins:
    """Where the origins listen, and the CA that signed their certificate.

    @ivar asked: how often the counter itself was asked; nginx counts these requests too.
    """

    plain: int
    tls: int
    status: int
    ca: Path
    asked: int = 0

    def counts(self) -> Counts:
        """What was asked so far, this question and those before it left out."""
        seen = counts_in(read_url(f"http://127.0.0.1:{self.status}/"))
        self.asked += 1
        return Counts(seen.connections - self.asked, seen.requests - self.asked)


def counts_in(status: str) -> Counts:
    """Read nginx's C{stub_status} page."""
    found = re.search(r"server accepts handled requests\n\s*(\d+) \d+ (\d+)", status)
    if found is None:
        raise OriginsError(f"this is no status page of nginx: {status[:100]!r}")
    return Counts(int(found[1]), int(found[2]))


def missing() -> list[str]:
    """What has to be installed, a line each."""
    return [] if shutil.which("nginx", path=_search_path()) else ["nginx: apt-get install nginx-light"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, and that was not given away just before.

    It is none of those that the system gives to clients: under a load there are thousands of them.
    """
    for port in islice(_ports, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OriginsError("there is no free port")


def read_url(url: str) -> str:
    """GET something from a server of this benchmark."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    """Return when somebody listens.

    @raise OriginsError: when the process ends before that, or takes too long.
    """
    deadline = time.monotonic() + _START_DEADLINE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise OriginsError(f"{what} ended with status {process.returncode}")
        time.sleep(0.02)
    raise OriginsError(f"{what} does not listen after {_START_DEADLINE:.0f} s")


@contextmanager
def running(directory: Path, native: Path, *, as_root: bool, files: int) -> Iterator[Origins]:
    """The origins, for as long as the block runs.

    @param directory: an empty one, for them alone.
    @param native: the directory with the C programs.
    @param as_root: whether this process is root.
    @param files: how many files a process may have open.
    """
    ca = TestCA("Benchmark origins")
    ca.issue(f"*.{DOMAIN}").write(directory, "origin")
    _write_files(directory / "bulk")
    plain, tls, status, sink = (free_port() for _ in range(4))
    (directory / "nginx.conf").write_text(
        _CONFIGURATION.format(
            # Files that this user can read are read by nginx's worker as well.
            user="user root;" if as_root else "",
            files=files,
            connections=max(512, files // 2 - 64),
            directory=directory,
            plain=plain,
            tls=tls,
            status=status,
            sink=sink,
        ),
        encoding="utf-8",
    )
    nginx = shutil.which("nginx", path=_search_path()) or "nginx"
    log = directory / "error.log"
    behind = subprocess.Popen([str(native / "sink"), "--port", str(sink)], stdout=subprocess.DEVNULL)
    front = subprocess.Popen([nginx, "-e", str(log), "-p", str(directory), "-c", str(directory / "nginx.conf")])
    try:
        wait_for_port(sink, behind, "the sink of uploads")
        try:
            wait_for_port(plain, front, "nginx")
        except OriginsError as error:
            said = log.read_text(encoding="utf-8") if log.exists() else ""
            raise OriginsError(f"{error}: {said[-1000:]}") from error
        yield Origins(plain, tls, status, ca.write(directory, "origins-ca"))
    finally:
        for process in (front, behind):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _search_path() -> str:
    # Debian keeps it where the path of a plain user does not look.
    return ":".join(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"])


def _write_files(directory: Path) -> None:
    """Files full of zeros that take no room on the disk."""
    directory.mkdir()
    directory.chmod(0o755)
    for size in BULK_SIZES_MIB:
        with (directory / str(size)).open("wb") as file:
            file.truncate(size << 20)
