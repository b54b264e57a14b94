"""egressproxy itself, as users run it, without audit log and metrics."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.names import DOMAIN
from benchmarks.peers.base import EVERYTHING, HTTP2, PeerFailed, Setup, Started, launch, run, version_in
from benchmarks.scenarios import OURS

# The proxy runs in another directory, but with the code of this source tree.
TREE = Path(__file__).resolve().parents[2]

_WHERE = "import egress, pathlib; print(pathlib.Path(egress.__file__).resolve())"

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
    """One build of egressproxy.  The option C{workers} sets the number of worker processes.

    @param name: the name in the tables.
    @param tree: the source tree; C{None}: the package that is installed for C{python}.
    @param build: the build that C{egress --version} must name; C{None}: any build.
    """

    can = EVERYTHING | {HTTP2}

    def __init__(
        self, name: str = OURS, tree: Path | None = TREE, build: str | None = None, python: str = sys.executable
    ) -> None:
        self.name = name
        self._python = python
        self._tree = tree
        self._build = build
        # Without a value, the variable of this process does not apply either.
        self._environment = {"PYTHONPATH": str(tree or "")}

    def missing(self) -> str | None:
        """Check where the code is, and which build it is: a label proves nothing."""
        try:
            package, build = Path(self._ask("-c", _WHERE).strip()), build_in(self._ask("-m", "egress", "--version"))
        except PeerFailed as error:
            return str(error)
        if self._tree is not None and not package.is_relative_to(self._tree):
            return f"{self._python} uses {package}, not {self._tree}"
        if self._tree is None and package.is_relative_to(TREE):
            return f"{self._python} uses this source tree"
        if self._build not in (None, build):
            return f"{package} is the {build} build, not the {self._build} one"
        return None

    def version(self) -> str:
        """Return the version of the package, and its build."""
        said = self._ask("-m", "egress", "--version")
        return f"{version_in(said)}, {build_in(said)} build"

    def _ask(self, *words: str) -> str:
        # The directory of the process comes before the variable.
        return run([self._python, *words], self._environment, cwd=Path("/"))

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start C{twist}, which stays in the foreground."""
        directory = setup.directory / "ca"
        command = [
            *(self._python, "-m", "twisted", "egressproxy"),
            *("--listen", f"tcp:{setup.port}:interface=127.0.0.1"),
            *("--ca-dir", str(directory)),
            *("--ssl-extra-ca-certs", str(setup.origin_ca)),
            *("--allow-address", "127.0.0.0/8"),
            *("--allow-address", "::1/128"),
        ]
        if setup.authz_url is None:
            policy = setup.directory / "policy.toml"
            policy.write_text(setup.options.get("policy", _POLICY), encoding="utf-8")
            command += ["--policy", str(policy)]
        else:
            command += ["--authz-url", setup.authz_url]
        if not intercept:
            command += ["--passthrough", f"*.{DOMAIN}"]
        for name in ("workers", "authz-body"):
            if name in setup.options:
                command += [f"--{name}", setup.options[name]]
        return launch(setup, command, ca=directory / "ca.pem", environment=self._environment)


def build_in(said: str) -> str:
    """Return the build that C{egress --version} names."""
    found = re.search(r"\((\w+) build", said)
    if found is None:
        raise PeerFailed(f"{said.strip()!r} names no build")
    return found[1]
