"""The proxies to compare: one module for each proxy, with its programs in the same directory."""

from __future__ import annotations

from benchmarks.peers.base import Peer, PeerFailed, Setup, Started
from benchmarks.peers.goproxy import Goproxy, KeptGoproxy
from benchmarks.peers.http_mitm_proxy import HttpMitmProxy
from benchmarks.peers.mitmproxy import Mitmproxy
from benchmarks.peers.proxy_py import ProxyPy
from benchmarks.peers.splice_relay import SpliceRelay
from benchmarks.peers.squid import Squid
from benchmarks.peers.stock_twisted import StockTwisted
from benchmarks.peers.tinyproxy import Tinyproxy

# The other proxies; L{benchmarks.builds} has this one.
PEERS: tuple[Peer, ...] = (
    SpliceRelay(),
    Squid(),
    Goproxy(),
    KeptGoproxy(),
    Tinyproxy(),
    Mitmproxy(),
    ProxyPy(),
    HttpMitmProxy(),
    StockTwisted(),
)

__all__ = ["PEERS", "Peer", "PeerFailed", "Setup", "Started"]
