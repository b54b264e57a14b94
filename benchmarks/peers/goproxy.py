"""A proxy of Go's library goproxy, the version that Debian packages, with a main program of ours.

It has nowhere to keep certificates, and makes an RSA key for every connection; C{goproxy_main.go} signs with an
elliptic key instead, once for each host.  To each answer inside of an intercepted connection the library adds
C{Connection: close}, so a client that heeds it has one request for each.  There is a way around that, though none of
its documentation: as a second peer it takes part with what is inside of tunnels served by Go's own HTTP server, which
hands each request to the library.
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
    """One process, with as many threads as it may have cores."""

    name = "goproxy"
    can = EVERYTHING
    more: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Both are Debian's."""
        if shutil.which("go") is None or not (_GOPATH / "src/github.com/elazarl/goproxy").is_dir():
            return f"apt-get install golang-go {_PACKAGE}"
        return None

    def version(self) -> str:
        """The library has no version of its own to tell."""
        package = run(["dpkg-query", "--show", "--showformat=${Version}", _PACKAGE])
        return f"{package.strip()} (Go {version_in(run(['go', 'version']))})"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it, compiled before if need be."""
        authority = new_authority(setup.directory)
        environment = {
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOPATH": str(_GOPATH),
            "GOCACHE": str(setup.native / "go-cache"),
        }
        program = setup.native / "goproxy"
        command = [
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
