"""A relay in C with only CONNECT and splice(2): the lower bound of the cost of a tunnel."""

from __future__ import annotations

from benchmarks.peers.base import TUNNEL, Setup, Started, launch


class SpliceRelay:
    """The relay, which the benchmark compiles."""

    name = "splice relay"
    can = frozenset({TUNNEL})

    def missing(self) -> str | None:
        """It needs only a compiler, which the benchmark needs anyway."""
        return None

    def version(self) -> str:
        """It is part of the benchmark."""
        return "of this tree"

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        return launch(setup, [setup.native / "relay", "--port", str(setup.port)])
