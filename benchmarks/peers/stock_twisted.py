"""A tunnel of what Twisted itself has: what our own transports are compared with."""

from __future__ import annotations

import sys

import twisted

from benchmarks.peers.base import HERE, TUNNEL, Setup, Started, launch


class StockTwisted:
    """It decides on nothing."""

    name = "stock Twisted"
    can = frozenset({TUNNEL})

    def missing(self) -> str | None:
        """We need it ourselves."""
        return None

    def version(self) -> str:
        """The one that we run with."""
        return twisted.__version__

    def start(self, setup: Setup, intercept: bool) -> Started:
        """Start it."""
        return launch(setup, [sys.executable, HERE / "stock_twisted_main.py", str(setup.port)])
