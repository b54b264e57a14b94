"""http-mitm-proxy for Node.js, with a main program of this project.

It supports only RSA, for its CA and the key of each certificate.  It relays the data of a CONNECT to its TLS server
over a loopback connection.
"""

from __future__ import annotations

from benchmarks.peers.base import EVERYTHING, HERE, PeerFailed, Setup, Started, launch, needed
from benchmarks.peers.node import missing_package, node_modules, package_version

_PACKAGE = "http-mitm-proxy"


class HttpMitmProxy:
    """One process."""

    name = "http-mitm-proxy"
    can = EVERYTHING

    def missing(self) -> str | None:
        """Return how to install it."""
        return missing_package(_PACKAGE)

    def version(self) -> str:
        """Return the versions of the package and of Node.js."""
        return package_version(_PACKAGE)

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
        started = launch(setup, command, ca=ca, environment={"NODE_PATH": str(node_modules())})
        if not ca.exists():
            started.stop()
            raise PeerFailed(f"{_PACKAGE} has made no CA")
        return started
