"""egressproxy itself, as users run it, without audit log and metrics."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.names import DOMAIN
from benchmarks.peers.base import EVERYTHING, Setup, Started, launch

# The proxy runs in another directory, but with the code of this source tree.
_TREE = Path(__file__).resolve().parents[2]

# The first matching rule decides.  The first rule allows tunnels, whose path the second rule could match.
_POLICY = """\
version = 1
default = "allow"

[[rules]]
id = "tunnels"
action = "allow"
methods = ["CONNECT"]

[[rules]]
id = "denied"
action = "deny"
reason = "benchmark"
paths = ["/denied/**"]
"""


class Ours:
    """The option C{workers} sets the number of worker processes."""

    name = "egressproxy"
    can = EVERYTHING

    def missing(self) -> str | None:
        """It is always installed."""
        return None

    def version(self) -> str:
        """Return the version of the package, with a note about the source tree."""
        try:
            return version("egressproxy")
        except PackageNotFoundError:
            return "of this tree"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start C{twist}, which stays in the foreground."""
        directory = setup.directory / "ca"
        command = [
            *(sys.executable, "-m", "twisted", "egressproxy"),
            *("--listen", f"tcp:{setup.port}:interface=127.0.0.1"),
            *("--ca-dir", str(directory)),
            *("--ssl-extra-ca-certs", str(setup.origin_ca)),
            *("--allow-address", "127.0.0.0/8"),
        ]
        if setup.authz_url is None:
            policy = setup.directory / "policy.toml"
            policy.write_text(_POLICY, encoding="utf-8")
            command += ["--policy", str(policy)]
        else:
            command += ["--authz-url", setup.authz_url]
        if not intercept:
            command += ["--passthrough", f"*.{DOMAIN}"]
        if "workers" in setup.options:
            command += ["--workers", setup.options["workers"]]
        return launch(setup, command, ca=directory / "ca.pem", environment={"PYTHONPATH": str(_TREE)})
