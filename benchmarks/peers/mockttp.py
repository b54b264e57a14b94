"""The library mockttp for Node.js, with a main program of this project; only the scorecard uses it."""

from __future__ import annotations

from benchmarks.peers.base import HERE, INTERCEPT_AUTHZ, Setup, Started, launch, needed, new_authority
from benchmarks.peers.node import missing_package, node_modules, package_version

_PACKAGE = "mockttp"


class Mockttp:
    """One process."""

    name = _PACKAGE
    can = frozenset({INTERCEPT_AUTHZ})

    def missing(self) -> str | None:
        """Return how to install it."""
        return missing_package(_PACKAGE)

    def version(self) -> str:
        """Return the versions of the package and of Node.js."""
        return package_version(_PACKAGE)

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        authority = new_authority(setup.directory)
        program = [needed("node"), HERE / "mockttp.js", str(setup.port)]
        command = [*program, authority.key, authority.certificate, setup.origin_ca, setup.authz_url or ""]
        command += [feature for feature in ("socks", "content") if feature in setup.options]
        return launch(setup, command, ca=authority.certificate, environment={"NODE_PATH": str(node_modules())})
