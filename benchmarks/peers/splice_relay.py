"""A relay in C that does nothing but CONNECT and splice(2): what a tunnel has to cost at least."""

from __future__ import annotations

from benchmarks.peers.base import TUNNEL, Setup, Started, launch


class SpliceRelay:
    """Compiled by the benchmark itself."""

    name = "splice relay"
    can = frozenset({TUNNEL})

    def missing(self) -> str | None:
        """Nothing but a compiler, which the benchmark needs anyway."""
        return None

    def version(self) -> str:
        """It belongs to the benchmark."""
        return "of this tree"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        return launch(setup, [setup.native / "relay", "--port", str(setup.port)])
