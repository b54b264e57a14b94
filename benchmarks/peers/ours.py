"""egressproxy itself, as its users run it: no audit log, no metrics."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.names import DOMAIN
from benchmarks.peers.base import EVERYTHING, Setup, Started, launch

# The proxy runs in another directory, and it is this tree that is measured.
_TREE = Path(__file__).resolve().parents[2]

# The first rule that matches decides.  A tunnel may hold what the second one denies, so it is allowed before that.
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
    """The option C{workers} says how many processes there are."""

    name = "egressproxy"
    can = EVERYTHING

    def missing(self) -> str | None:
        """It is always there."""
        return None

    def version(self) -> str:
        """That of the package, and that the working tree counts."""
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
