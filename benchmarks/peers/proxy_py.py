"""proxy.py, with a plugin of this project that decides.

One process accepts and works, because every proxy here has one core.  Its pool of origin connections is off, because
its authors call the pool unfinished.  An origin connection belongs to one client connection.  A request for another
host over the same plain connection still goes to the origin of the first request.  With interception, it parses whole
bodies, at a cost that grows with the square of their size.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.base import (
    EVERYTHING,
    HERE,
    Setup,
    Started,
    find_program,
    how_to_install,
    launch,
    needed,
    new_authority,
    run,
    version_in,
)

_VARIABLE = "EGRESS_BENCH_PROXY_PY"


class ProxyPy:
    """One worker."""

    name = "proxy.py"
    can = EVERYTHING

    def missing(self) -> str | None:
        """The name of its program is not unique."""
        program = find_program("proxy", _VARIABLE)
        if program is None or not (program.parent / "python").exists():
            return how_to_install("proxy.py", "proxy", _VARIABLE)
        return None

    def version(self) -> str:
        """Return the version."""
        return version_in(run([needed("proxy", _VARIABLE), "--version"]))

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        directory = setup.directory
        authority = new_authority(directory)
        command: list[str | Path] = [
            needed("proxy", _VARIABLE),
            *("--hostname", "127.0.0.1", "--port", str(setup.port)),
            *("--num-workers", "1", "--num-acceptors", "1"),
            *("--log-level", "CRITICAL"),
            *("--timeout", "600", "--open-file-limit", "16384", "--backlog", "1024"),
            *("--plugins", "proxy_py_plugin.DecidePlugin"),
            *("--data-dir", directory / "data"),
        ]
        if intercept:
            (directory / "certificates").mkdir()
            command += [
                *("--ca-key-file", authority.key),
                *("--ca-cert-file", authority.certificate),
                *("--ca-signing-key-file", authority.key),
                *("--ca-cert-dir", directory / "certificates"),
                *("--ca-file", setup.origin_ca),
            ]
        environment = {
            "PYTHONPATH": str(HERE),
            "BENCHMARK_AUTHZ_URL": setup.authz_url or "",
            "BENCHMARK_INTERCEPT": "yes" if intercept else "",
        }
        return launch(setup, command, ca=authority.certificate, environment=environment)
