"""The origins: one nginx with plain HTTP, HTTPS, and a counter of requests.

nginx responds to small requests and downloads itself.  Without a server behind it, nginx cannot read a body before it
responds, and a response before the end of the upload would measure something else.  Uploads are therefore forwarded to
a sink.
"""

# ruff: noqa: S603 -- it starts programs of the benchmark and of the system, some by name

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
# Other benchmarks on the same machine start at other ports.
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
        listen {http2} ssl http2 backlog=4096;
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
    """The counters of the origins."""

    connections: int
    requests: int


@dataclass
class Origins:
    """The ports of the origins, and the CA that signed their certificate.

    @ivar asked: the number of requests for the counters, which nginx counts as well.
    """

    plain: int
    tls: int
    http2: int
    status: int
    ca: Path
    asked: int = 0

    def counts(self) -> Counts:
        """Return the counters, without the requests for the counters."""
        seen = counts_in(read_url(f"http://127.0.0.1:{self.status}/"))
        self.asked += 1
        return Counts(seen.connections - self.asked, seen.requests - self.asked)


def counts_in(status: str) -> Counts:
    """Read the C{stub_status} page of nginx."""
    found = re.search(r"server accepts handled requests\n\s*(\d+) \d+ (\d+)", status)
    if found is None:
        raise OriginsError(f"not a status page of nginx: {status[:100]!r}")
    return Counts(int(found[1]), int(found[2]))


def missing() -> list[str]:
    """Return the missing packages, one line each."""
    return [] if shutil.which("nginx", path=_search_path()) else ["nginx: apt-get install nginx-light"]


def free_port() -> int:
    """Return an unused port of 127.0.0.1 that was not returned recently.

    It is not in the range of client ports, of which thousands are in use under load.
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
    """Send a GET request to a server of this benchmark."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


def wait_for_port(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    """Wait until a port accepts connections.

    @raise OriginsError: if the process exits before that, or takes too long.
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
    """Run the origins during the block.

    @param directory: an empty directory.
    @param native: the directory with the C programs.
    @param as_root: whether this process is root.
    @param files: the limit of open files of a process.
    """
    ca = TestCA("Benchmark origins")
    ca.issue(f"*.{DOMAIN}", "localhost").write(directory, "origin")
    _write_files(directory / "bulk")
    plain, tls, http2, status, sink = (free_port() for _ in range(5))
    (directory / "nginx.conf").write_text(
        _CONFIGURATION.format(
            # The worker of nginx can read the files that this user can read.
            user="user root;" if as_root else "",
            files=files,
            connections=max(512, files // 2 - 64),
            directory=directory,
            plain=plain,
            tls=tls,
            http2=http2,
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
        wait_for_port(sink, behind, "the sink for uploads")
        try:
            wait_for_port(plain, front, "nginx")
        except OriginsError as error:
            said = log.read_text(encoding="utf-8") if log.exists() else ""
            raise OriginsError(f"{error}: {said[-1000:]}") from error
        yield Origins(plain, tls, http2, status, ca.write(directory, "origins-ca"))
    finally:
        for process in (front, behind):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _search_path() -> str:
    # On Debian, the path of a normal user does not contain its directory.
    return ":".join(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"])


def _write_files(directory: Path) -> None:
    """Create sparse files of zeros."""
    directory.mkdir()
    directory.chmod(0o755)
    for size in BULK_SIZES_MIB:
        with (directory / str(size)).open("wb") as file:
            file.truncate(size << 20)
