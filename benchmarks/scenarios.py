"""The scenarios, one for each line of the table, with their targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

# The names of the peers; in a target, "best" is the best of them.
OURS = "egressproxy"
GOPROXY = "goproxy"
SQUID = "Squid"
MITMPROXY = "mitmproxy"
RELAY = "splice relay"
BEST = "best peer"

Figure = Literal["cpu", "rate", "p50", "memory"]


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
    who: str = OURS
    cores: int = 1


@dataclass(frozen=True)
class Traffic:
    """The parameters of the load generator.

    @ivar units: the total number of units, or fewer after C{seconds}.
    @ivar first_host: the number of the first name; the load alternates between C{hosts} names.
    @ivar mib: the size of a download or an upload; 0 for small responses.
    """

    via: Literal["forward", "tunnel"]
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

    @property
    def figure(self) -> Figure:
        """The figure that orders the table: the figure of the first target."""
        return self.targets[0].figure if self.targets else "cpu"

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

_BULK = (Target("cpu", 0.9, GOPROXY), Target("cpu", 1.4, RELAY))
_ONE_WORKER = f"{OURS}, 1 worker"
_TWO_WORKERS = f"{OURS}, 2 workers"

COMPARED: tuple[Scenario, ...] = (
    Scenario("forward", "Plain HTTP, local rule", "forward", _FORWARD, (Target("cpu", 1.0, GOPROXY),)),
    Scenario(
        "forward-authz",
        "Plain HTTP, one authorization request for each request",
        "forward+authz",
        _FORWARD,
        (Target("cpu", 2.0, GOPROXY),),
        authorizer=True,
    ),
    Scenario("tunnel-setup", "One request per opaque tunnel", "tunnel", _SETUP, (Target("cpu", 1.2, SQUID),)),
    Scenario("tunnel-bulk-down", "Download through opaque tunnels", "tunnel", _DOWN, _BULK),
    Scenario("tunnel-bulk-up", "Upload through opaque tunnels", "tunnel", replace(_DOWN, direction="upload"), _BULK),
    Scenario(
        "intercept",
        "HTTPS, intercepted, local rule",
        "intercept",
        _INTERCEPT,
        (Target("cpu", 1.0, SQUID),),
        intercept=True,
    ),
    Scenario(
        "intercept-authz",
        "HTTPS, intercepted, one authorization request for each request",
        "intercept+authz",
        _INTERCEPT,
        (Target("cpu", 0.5), Target("cpu", 0.09, MITMPROXY)),
        intercept=True,
        authorizer=True,
    ),
    Scenario(
        "intercept-authz-slow",
        "The same with an authorizer that takes 20 ms",
        "intercept+authz",
        replace(_INTERCEPT, connections=64),
        (Target("rate", 1.7),),
        intercept=True,
        authorizer=True,
        delay_ms=20,
    ),
    Scenario(
        "intercept-new",
        "One request per intercepted connection, to one host",
        "intercept",
        _NEW,
        (Target("cpu", 0.6),),
        intercept=True,
    ),
    Scenario(
        "first-visit",
        "The first connection to each of 200 hosts",
        "intercept",
        _FIRST,
        (Target("cpu", 0.5, SQUID), Target("p50", 0.5, SQUID)),
        intercept=True,
    ),
    Scenario("intercept-bulk", "Download, intercepted", "intercept", _DOWN_TLS, (Target("cpu", 0.8),), intercept=True),
    Scenario(
        "intercept-bulk-up",
        "Upload, intercepted",
        "intercept",
        replace(_DOWN_TLS, direction="upload"),
        (Target("cpu", 0.8),),
        intercept=True,
    ),
    Scenario("idle-tunnel", "An idle opaque tunnel", "tunnel", _IDLE, (Target("memory", 6, None),), idle=True),
    Scenario(
        "idle-intercepted",
        "An idle intercepted connection",
        "intercept",
        replace(_IDLE, tls=True),
        (Target("memory", 68, None),),
        intercept=True,
        idle=True,
    ),
    Scenario(
        "workers",
        "HTTPS with the authorizer, by one worker and by two",
        "intercept+authz",
        _INTERCEPT,
        (
            Target("cpu", 1.1, _ONE_WORKER, _TWO_WORKERS),
            Target("rate", 1.7, _ONE_WORKER, _TWO_WORKERS, cores=4),
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
