"""A PostgreSQL for benchmarks: a cluster in a temporary directory, with default settings."""

# ruff: noqa: S603 -- it starts programs of the system, by full path

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = Path("/usr/lib/postgresql")
_USER: Final = "postgres"


@contextmanager
def started() -> Iterator[tuple[str, str]]:
    """Start a server on a socket; return its version, and the URL of its database."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise SystemExit("PostgreSQL is not installed: run apt-get install postgresql")
    programs = found[-1].parent
    # The server does not run as root.
    user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="egress-pg-") as name:
        directory = Path(name)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        data = directory / "data"
        init = [programs / "initdb", "-D", data, "-U", _USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(init, check=True, cwd=directory, stdout=subprocess.DEVNULL, **user)
        command = [programs / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses="]
        with (directory / "log").open("w") as log:
            server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, **user)
        ready = [str(programs / "pg_isready"), "-q", "-h", str(directory)]
        try:
            while subprocess.run(ready, check=False).returncode:
                if server.poll() is not None:
                    raise SystemExit((directory / "log").read_text())
                time.sleep(0.05)
            version = subprocess.run([programs / "postgres", "-V"], check=True, capture_output=True, text=True).stdout
            yield version.split()[2], f"postgresql://{_USER}@/postgres?host={directory}"
        finally:
            server.terminate()
            server.wait()
