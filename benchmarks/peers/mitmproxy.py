"""C{mitmdump} of mitmproxy, with an addon of this project that decides.

All options for speed in its documentation are on: no output for flows, streamed bodies, connections to origins only for
requests, and certificates without a connection to the origin.  The key of the CA and of its certificates is an
elliptic-curve key.  An origin connection belongs to a client connection and ends with it; no option changes that.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.names import DOMAIN
from benchmarks.peers.base import (
    EVERYTHING,
    HERE,
    HTTP2,
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

_VARIABLE = "EGRESS_BENCH_MITMDUMP"


class Mitmproxy:
    """One process; it has no workers."""

    name = "mitmproxy"
    can = EVERYTHING | {HTTP2}

    def missing(self) -> str | None:
        """It pins its dependencies, so it needs a separate environment."""
        if find_program("mitmdump", _VARIABLE) is None:
            return how_to_install("mitmproxy", "mitmdump", _VARIABLE)
        return None

    def version(self) -> str:
        """Return the version, with the version of its Python."""
        said = run([needed("mitmdump", _VARIABLE), "--version"])
        python = version_in(said.partition("Python:")[2])
        return f"{version_in(said)} (Python {python})"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        authority = new_authority(setup.directory)
        kept = setup.directory / "kept"
        kept.mkdir()
        (kept / "mitmproxy-ca.pem").write_bytes(authority.combined().read_bytes())
        values = {
            "confdir": str(kept),
            "listen_host": "127.0.0.1",
            "listen_port": str(setup.port),
            "flow_detail": "0",
            "termlog_verbosity": "error",
            "onboarding": "false",
            "connection_strategy": "lazy",
            "upstream_cert": "false",
            "stream_large_bodies": "512k",
            "http2": setup.options.get("http2", "false"),
            "http3": "false",
            "ssl_verify_upstream_trusted_ca": str(setup.origin_ca),
        }
        if not intercept:
            values["ignore_hosts"] = rf"\.{re.escape(DOMAIN)}:\d+$"
        # The scorecard also plays SOCKS5, with or without credentials, and cases about content.
        if "mode" in setup.options:
            values["mode"] = setup.options["mode"]
        if "proxyauth" in setup.options:
            values["proxyauth"] = setup.options["proxyauth"]
        command: list[str | Path] = [needed("mitmdump", _VARIABLE), "-q", "-s", HERE / "mitmproxy_addon.py"]
        if "content" in setup.options:
            command += ["-s", HERE / "mitmproxy_content.py"]
        for name, value in values.items():
            command += ["--set", f"{name}={value}"]
        environment = {"BENCHMARK_AUTHZ_URL": setup.authz_url or ""}
        return launch(setup, command, ca=authority.certificate, environment=environment)
