"""http-mitm-proxy for Node.js, with a main program of this project.

It supports only RSA, for its CA and the key of each certificate.  It relays the data of a CONNECT to its TLS server
over a loopback connection.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from benchmarks.peers.base import EVERYTHING, HERE, PeerFailed, Setup, Started, launch, needed, run, version_in

_VARIABLE = "EGRESS_BENCH_NODE_MODULES"
_PACKAGE = "http-mitm-proxy"


class HttpMitmProxy:
    """One process."""

    name = "http-mitm-proxy"
    can = EVERYTHING

    def missing(self) -> str | None:
        """Node.js is a package of Debian, and http-mitm-proxy is a package of npm."""
        if shutil.which("node") is None:
            return "apt-get install nodejs npm"
        if not (_modules() / _PACKAGE).is_dir():
            return (
                f"npm install --prefix benchmarks --no-save --no-package-lock {_PACKAGE},"
                f" or elsewhere with {_VARIABLE}=DIR/node_modules"
            )
        return None

    def version(self) -> str:
        """Return the versions of the package and of Node.js."""
        package = json.loads((_modules() / _PACKAGE / "package.json").read_text(encoding="utf-8"))
        return f"{package['version']} (Node.js {version_in(run(['node', '--version']))})"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        directory = setup.directory / "ca"
        command = [
            *(needed("node"), HERE / "http_mitm_proxy.js", str(setup.port), directory, setup.origin_ca),
            "intercept" if intercept else "tunnel",
        ]
        if setup.authz_url is not None:
            command.append(setup.authz_url)
        ca = directory / "certs" / "ca.pem"
        started = launch(setup, command, ca=ca, environment={"NODE_PATH": str(_modules())})
        if not ca.exists():
            started.stop()
            raise PeerFailed(f"{_PACKAGE} has made no CA")
        return started


def _modules() -> Path:
    return Path(os.environ.get(_VARIABLE) or HERE.parent / "node_modules").absolute()
