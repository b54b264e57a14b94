"""A tunnel with the parts of Twisted, for comparison with the transports of egressproxy."""

from __future__ import annotations

import sys

import twisted

from benchmarks.peers.base import HERE, TUNNEL, Setup, Started, launch


class StockTwisted:
    """It authorizes nothing."""

    name = "stock Twisted"
    can = frozenset({TUNNEL})

    def missing(self) -> str | None:
        """Twisted is a dependency of egressproxy."""
        return None

    def version(self) -> str:
        """Return the version of Twisted."""
        return twisted.__version__

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        return launch(setup, [sys.executable, HERE / "stock_twisted_main.py", str(setup.port)])
