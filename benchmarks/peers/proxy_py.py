"""proxy.py, with a plugin of ours that decides.

One process accepts and works, as everything here has one core.  Its pool of connections to origins is off, as its
authors call that unfinished: a connection to an origin belongs to one of a client.  What is asked of another host over
the same plain connection goes to the first one's origin nevertheless.  It parses whole bodies when it intercepts, at a
cost that grows with the square of their size.
"""

from __future__ import annotations

from benchmarks.peers.base import (
    EVERYTHING,
    HERE,
    Setup,
    Started,
    find_program,
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
        """Its program has a name that others have as well."""
        program = find_program("proxy", _VARIABLE)
        if program is None or not (program.parent / "python").exists():
            return (
                "python -m venv DIR && DIR/bin/pip install proxy.py, then have DIR/bin in PATH"
                f" or {_VARIABLE}=DIR/bin/proxy"
            )
        return None

    def version(self) -> str:
        """It says so."""
        return version_in(run([needed("proxy", _VARIABLE), "--version"]))

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        directory = setup.directory
        authority = new_authority(directory)
        command = [
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
