"""The proxies that are compared: one module for each, with what it needs beside it."""

from __future__ import annotations

from benchmarks.peers.base import Peer, PeerFailed, Setup, Started
from benchmarks.peers.mitmproxy import Mitmproxy
from benchmarks.peers.ours import Ours
from benchmarks.peers.squid import Squid

PEERS: tuple[Peer, ...] = (Ours(), Squid(), Mitmproxy())

__all__ = ["PEERS", "Peer", "PeerFailed", "Setup", "Started"]
