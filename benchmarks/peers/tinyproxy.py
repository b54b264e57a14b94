"""tinyproxy, for tunnels.  It neither intercepts nor sends authorization requests.

It has a filter for plain HTTP, but closes each connection after one response without announcing it.  Clients that send
their next request immediately, such as the load generator, fail.
"""

from __future__ import annotations

from benchmarks.peers.base import TUNNEL, Setup, Started, find_program, launch, needed, run, version_in

_CONFIGURATION = """\
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 4096
LogLevel Critical
LogFile "{directory}/tinyproxy.log"
DisableViaHeader Yes
Filter "{directory}/filter"
FilterURLs On
FilterExtended On
FilterDefaultDeny No
"""


class Tinyproxy:
    """A thread for each connection."""

    name = "tinyproxy"
    can = frozenset({TUNNEL})

    def missing(self) -> str | None:
        """It is a package of Debian."""
        return None if find_program("tinyproxy") else "apt-get install tinyproxy"

    def version(self) -> str:
        """Return the version."""
        return version_in(run([needed("tinyproxy"), "-v"]))

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it in the foreground."""
        directory = setup.directory
        (directory / "filter").write_text("/denied/\n", encoding="utf-8")
        configuration = directory / "tinyproxy.conf"
        configuration.write_text(_CONFIGURATION.format(port=setup.port, directory=directory), encoding="utf-8")
        log = directory / "tinyproxy.log"
        return launch(setup, [needed("tinyproxy"), "-d", "-c", configuration], logs=[log])
