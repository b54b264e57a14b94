"""The scenarios, one for each line of the table, with their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.message_frames import METHOD, SERVICE

# The names of the entrants; in a target, "best" is the best of the other proxies.
OURS = "egressproxy"
COMPILED = "egressproxy (compiled)"
PURE = "egressproxy (pure)"
BEFORE = "egressproxy before"
GOPROXY = "goproxy"
KEPT_GOPROXY = "goproxy, kept open"
SQUID = "Squid"
MITMPROXY = "mitmproxy"
PROXY_PY = "proxy.py"
HTTP_MITM_PROXY = "http-mitm-proxy"
RELAY = "splice relay"
BEST = "best peer"

# "added" is the median latency without the median latency of the same request without a proxy.
Figure = Literal["cpu", "rate", "p50", "added", "memory"]


@dataclass(frozen=True)
class Target:
    """A target of a scenario.

    @ivar figure: the figure to compare.
    @ivar factor: the maximum ratio to the other figure; for a rate, the minimum ratio.
    @ivar of: the name of the other proxy; C{None} makes C{factor} an absolute number.
    @ivar who: the entrant that must meet the target.
    @ivar cores: the number of cores that the target needs.
    """

    figure: Figure
    factor: float
    of: str | None = BEST
    who: str = COMPILED
    cores: int = 1


@dataclass(frozen=True)
class Traffic:
    """The parameters of the load generator.

    @ivar units: the total number of units, or fewer after C{seconds}.
    @ivar first_host: the number of the first name; the load alternates between C{hosts} names.
    @ivar mib: the size of a download or an upload; 0 for small responses.
    """

    via: Literal["forward", "tunnel", "direct"]
    units: int
    tls: bool = False
    connections: int = 32
    seconds: int = 8
    warmup: int = 0
    keep_alive: bool = True
    hosts: int = 1
    first_host: int = 0
    denied_every: int = 0
    direction: Literal["", "download", "upload"] = ""
    mib: int = 0

    def arguments(self) -> list[str]:
        """Return the command line of the load generator, without addresses and files."""
        said = ["--via", self.via, "--connections", str(self.connections), "--units", str(self.units)]
        said += ["--seconds", str(self.seconds), "--warmup", str(self.warmup)]
        said += ["--first-host", str(self.first_host), "--hosts", str(self.hosts)]
        said += ["--keep-alive"] * self.keep_alive
        if self.denied_every:
            said += ["--denied-every", str(self.denied_every)]
        if self.direction:
            said += [f"--{self.direction}", str(self.mib)]
        return said

    def warm_up(self) -> Traffic | None:
        """Return the warm-up traffic, if it differs from the measured traffic."""
        if self.hosts > 1 and not self.keep_alive:
            # A measured visit must be the first one, so the warm-up uses another name.
            return replace(self, units=20, hosts=1, first_host=399, warmup=0)
        if self.mib > 1:
            return replace(self, units=8 * self.connections, mib=1, warmup=0)
        return None


@dataclass(frozen=True)
class Scenario:
    """One table of the report.

    @ivar can: the required capability of a proxy, as C{benchmarks.peers} names it.
    @ivar load: the load generator: the program of this benchmark, h2load, or the gRPC client of L{benchmarks.messages}.
    @ivar origin_http2: whether the origin supports HTTP/2, for h2load.
    @ivar figure: the figure that orders the table.
    @ivar options: options of every proxy.
    @ivar idle: whether the connections are opened and held, and the memory is measured.
    @ivar variants: runs of only egressproxy, by the names of the entrants, with their options.  If empty, every peer
        runs.
    @ivar spread: the number of cores of the proxy, if the machine has the same number for everything else.
    """

    name: str
    title: str
    can: str
    traffic: Traffic
    targets: tuple[Target, ...] = ()
    intercept: bool = False
    authorizer: bool = False
    delay_ms: int = 0
    idle: bool = False
    spread: int = 1
    variants: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    load: Literal["native", "h2load", "grpc"] = "native"
    origin_http2: bool = False
    figure: Figure = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Target, ...]:
        """All targets: in a comparison, the pure build also costs no more than before."""
        if self.variants:
            return self.targets
        return (*self.targets, Target(self.figure, 1.0, BEFORE, PURE))

    @property
    def in_gib(self) -> bool:
        """Whether the scenario counts bytes instead of units."""
        return self.traffic.mib > 1

    def quick(self) -> Scenario:
        """Return a short variant of a scenario, which checks only that everything runs."""
        traffic = self.traffic
        connections = min(traffic.connections, 100)
        mib = min(traffic.mib, 64)
        units = traffic.units if mib else max(traffic.units // 20, connections)
        seconds = min(traffic.seconds, 4)
        return replace(self, traffic=replace(traffic, connections=connections, mib=mib, units=units, seconds=seconds))


_FORWARD = Traffic("forward", 40_000, warmup=640, denied_every=50)
_INTERCEPT = Traffic("tunnel", 30_000, tls=True, warmup=640, denied_every=50)
_SETUP = Traffic("tunnel", 12_000, warmup=200, keep_alive=False)
_NEW = Traffic("tunnel", 2_500, tls=True, connections=8, warmup=50, keep_alive=False)
_FIRST = Traffic("tunnel", 200, tls=True, connections=1, hosts=200, keep_alive=False, seconds=30)
_DOWN = Traffic("tunnel", 4, connections=4, direction="download", mib=1024, seconds=60)
_DOWN_TLS = Traffic("tunnel", 8, tls=True, connections=4, direction="download", mib=256, seconds=60)
_IDLE = Traffic("tunnel", 1000, connections=1000, seconds=60)

# One connection with one request at a time: the latency that the proxy adds.
_ONE = replace(_INTERCEPT, units=4_000, connections=1, warmup=200, denied_every=0)
_HTTP2 = Traffic("tunnel", 8_000, tls=True, connections=4, warmup=400)
_CALLS = replace(_HTTP2, units=4_000)
_OVER_HTTP2 = {"http2": "true"}
_CALL_POLICY = f"""\
version = 1
[[rules]]
name = "tunnels"
action = "allow"
methods = ["CONNECT"]
[[rules]]
name = "call"
action = "allow"
hosts = ["localhost"]
grpc = {{ service = "{SERVICE}", method = "{METHOD}" }}
"""
_BULK = (Target("cpu", 0.75, BEFORE),)
_ONE_WORKER = f"{OURS}, 1 worker"
_TWO_WORKERS = f"{OURS}, 2 workers"

COMPARED: tuple[Scenario, ...] = (
    Scenario("forward", "Plain HTTP, local rule", "forward", _FORWARD, (Target("cpu", 0.5, BEFORE),)),
    Scenario(
        "forward-authz",
        "Plain HTTP, one authorization request for each request",
        "forward+authz",
        _FORWARD,
        (Target("cpu", 0.5, BEFORE),),
        authorizer=True,
    ),
    Scenario("tunnel-setup", "One request per opaque tunnel", "tunnel", _SETUP, (Target("cpu", 0.7, BEFORE),)),
    Scenario("tunnel-bulk-down", "Download through opaque tunnels", "tunnel", _DOWN),
    Scenario("tunnel-bulk-up", "Upload through opaque tunnels", "tunnel", replace(_DOWN, direction="upload")),
    Scenario(
        "intercept",
        "HTTPS, intercepted, local rule",
        "intercept",
        _INTERCEPT,
        (Target("cpu", 0.6, BEFORE),),
        intercept=True,
    ),
    Scenario(
        "intercept-authz",
        "HTTPS, intercepted, one authorization request for each request",
        "intercept+authz",
        _INTERCEPT,
        (
            Target("cpu", 0.55, BEFORE),
            Target("cpu", 0.75, GOPROXY),
            Target("cpu", 0.75, PROXY_PY),
            Target("cpu", 0.12, MITMPROXY),
        ),
        intercept=True,
        authorizer=True,
    ),
    Scenario(
        "intercept-authz-slow",
        "The same with an authorizer that takes 20 ms",
        "intercept+authz",
        replace(_INTERCEPT, connections=64),
        figure="rate",
        intercept=True,
        authorizer=True,
        delay_ms=20,
    ),
    Scenario(
        "latency",
        "The latency that the proxy adds: one connection, intercepted, one authorization request for each request",
        "intercept+authz",
        _ONE,
        (Target("added", 1.3, KEPT_GOPROXY),),
        figure="added",
        intercept=True,
        authorizer=True,
    ),
    Scenario(
        "intercept-new",
        "One request per intercepted connection, to one host",
        "intercept",
        _NEW,
        (
            Target("cpu", 0.8, BEFORE),
            Target("cpu", 1.0, HTTP_MITM_PROXY),
            Target("cpu", 1.0, PROXY_PY),
            Target("cpu", 1.0, MITMPROXY),
        ),
        intercept=True,
    ),
    Scenario(
        "first-visit",
        "The first connection to each of 200 hosts",
        "intercept",
        _FIRST,
        (Target("cpu", 0.6, SQUID),),
        intercept=True,
    ),
    Scenario("intercept-bulk", "Download, intercepted", "intercept", _DOWN_TLS, _BULK, intercept=True),
    Scenario(
        "intercept-bulk-up",
        "Upload, intercepted",
        "intercept",
        replace(_DOWN_TLS, direction="upload"),
        _BULK,
        intercept=True,
    ),
    Scenario("idle-tunnel", "An idle opaque tunnel", "tunnel", _IDLE, figure="memory", idle=True),
    Scenario(
        "idle-intercepted",
        "An idle intercepted connection",
        "intercept",
        replace(_IDLE, tls=True),
        (Target("memory", 20, None),),
        figure="memory",
        intercept=True,
        idle=True,
    ),
    *(
        Scenario(
            f"http2-{origin}-authz",
            f"HTTP/2 to {version}, intercepted, one authorization request for each request",
            "http2",
            _HTTP2,
            intercept=True,
            authorizer=True,
            load="h2load",
            origin_http2=origin == "h2",
            options=_OVER_HTTP2,
        )
        for origin, version in (("h1", "HTTP/1.1"), ("h2", "HTTP/2"))
    ),
    Scenario(
        "grpc",
        "Unary gRPC calls, HTTP/2 on both sides, intercepted, rule for service and method",
        "http2",
        _CALLS,
        intercept=True,
        load="grpc",
        options={**_OVER_HTTP2, "policy": _CALL_POLICY},
    ),
    Scenario(
        "grpc-authz",
        "Unary gRPC calls, HTTP/2 on both sides, intercepted, one authorization request for each call",
        "http2",
        _CALLS,
        intercept=True,
        authorizer=True,
        load="grpc",
        options={**_OVER_HTTP2, "authz-body": "never"},
    ),
    Scenario(
        "workers",
        "HTTPS with the authorizer, by one worker and by two",
        "intercept+authz",
        _INTERCEPT,
        (
            Target("cpu", 1.05, _ONE_WORKER, _TWO_WORKERS),
            Target("rate", 1.8, _ONE_WORKER, _TWO_WORKERS, cores=4),
        ),
        intercept=True,
        authorizer=True,
        spread=2,
        variants={_ONE_WORKER: {}, _TWO_WORKERS: {"workers": "2"}},
    ),
)


def _grown(name: str, title: str, traffic: Traffic) -> Scenario:
    return Scenario(f"growth-{name}", title, "intercept", traffic, intercept=True, variants={OURS: {}})


_BASE = replace(_INTERCEPT, units=8_000, denied_every=0)

# The scaling of the cost: only egressproxy, for the documentation.
GROWTH: tuple[Scenario, ...] = (
    *(
        _grown(f"connections-{n}", f"HTTPS over {n} connections", replace(_BASE, connections=n, warmup=4 * n))
        for n in (8, 64, 512)
    ),
    *(
        _grown(
            f"hosts-{n}",
            f"HTTPS to {n} hosts, over 400 connections",
            replace(_BASE, connections=400, hosts=n, warmup=1600),
        )
        for n in (1, 100, 400)
    ),
    _grown("body-small", "HTTPS, responses of a few bytes", _BASE),
    _grown("body-1-mib", "HTTPS, responses of 1 MiB", replace(_BASE, units=1_000, direction="download", mib=1)),
)

SCENARIOS = (*COMPARED, *GROWTH)
