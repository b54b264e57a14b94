"""A proxy with the Go library goproxy, in the version of Debian, with a main program of this project.

The library has no certificate cache, and makes an RSA key for every connection; C{goproxy_main.go} signs with an
elliptic-curve key instead, once for each host.  The library adds C{Connection: close} to each response inside an
intercepted connection, so a client sends one request per connection.  A second peer avoids that in a way that its
documentation does not describe: the HTTP server of Go serves the inside of tunnels, and passes each request to the
library.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.peers.base import (
    EVERYTHING,
    HERE,
    INTERCEPT,
    INTERCEPT_AUTHZ,
    Setup,
    Started,
    compiled,
    launch,
    new_authority,
    run,
    version_in,
)

_PACKAGE = "golang-github-elazarl-goproxy-dev"
_GOPATH = Path("/usr/share/gocode")


class Goproxy:
    """One process, with one thread for each available core."""

    name = "goproxy"
    can = EVERYTHING
    more: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Both are packages of Debian."""
        if shutil.which("go") is None or not (_GOPATH / "src/github.com/elazarl/goproxy").is_dir():
            return f"apt-get install golang-go {_PACKAGE}"
        return None

    def version(self) -> str:
        """Return the version of Go, because the library reports no version."""
        package = run(["dpkg-query", "--show", "--showformat=${Version}", _PACKAGE])
        return f"{package.strip()} (Go {version_in(run(['go', 'version']))})"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it, and compile it before if necessary."""
        authority = new_authority(setup.directory)
        environment = {
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOPATH": str(_GOPATH),
            "GOCACHE": str(setup.native / "go-cache"),
        }
        program = setup.native / "goproxy"
        command: list[str | Path] = [
            compiled(HERE / "goproxy_main.go", program, ["go", "build"], environment),
            *("-listen", f"127.0.0.1:{setup.port}"),
            *("-ca", authority.certificate),
            *("-ca-key", authority.key),
            *("-origin-ca", setup.origin_ca),
        ]
        if setup.authz_url is not None:
            command += ["-authz-url", setup.authz_url]
        if intercept:
            command += ["-intercept"]
        command += self.more
        return launch(setup, command, ca=authority.certificate)


class KeptGoproxy(Goproxy):
    """Intercepted connections stay open."""

    name = "goproxy, kept open"
    can = frozenset({INTERCEPT, INTERCEPT_AUTHZ})
    more = ("-keep-alive",)
