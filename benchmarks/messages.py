"""The cost of gRPC calls, of WebSocket messages, and of events: C{python -m benchmarks.messages}.

The figure is the CPU time of the proxy for one unit: a call, a message and its echo, or an event.  The proxies run from
the beginning to the end and alternate within each round.  The results are the medians, and the ratios to the first row
of each table.  All connections use TLS, in tunnels that the proxy intercepts.

The client checks every response.  The benchmark also checks the number of units that the origin received, the number of
authorization requests, and that the proxy denies forbidden content where it must read the content.

C{--against} compares this source tree with another one.  C{--instructions} counts instructions with Valgrind instead of
CPU time (L{benchmarks.instructions}); other programs on the machine do not change this count.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Final

from google.protobuf import descriptor_pb2

from benchmarks.contestants import (
    TREE,
    TWIST,
    Bench,
    CpuTime,
    Meter,
    authorization_service,
    rows,
    run_command,
)
from benchmarks.instructions import Instructions
from benchmarks.keep_alive import HOST, Unproven
from benchmarks.measure import pinned
from benchmarks.message_clients import DENIED, Ends, Events, GrpcCalls, Requests, Traffic, WebSockets
from benchmarks.message_frames import METHOD, SERVICE
from benchmarks.origins import free_port
from benchmarks.peers import Peer, Setup, Started
from benchmarks.peers.base import launch
from benchmarks.peers.mitmproxy import Mitmproxy
from benchmarks.protocol_loads import MessageOrigin, message_origin

CONNECTIONS: Final = 16
BULK: Final = 64 * 1024

TUNNELS = 'version = 1\n[[rules]]\nname = "tunnels"\naction = "allow"\nmethods = ["CONNECT"]\n'
_RULE = f'[[rules]]\nname = "benchmark"\naction = "allow"\nhosts = ["{HOST}"]\n'
_CALL = f'grpc = {{ service = "{SERVICE}", method = "{METHOD}"%s }}\n'
_FIELD = ', fields = { "text" = "ping *" }'
_MESSAGES = f"""\
[[rules.messages.rules]]
action = "deny"
reason = "benchmark"
types = ["text"]
json = {{ kind = "{DENIED}*" }}

[[rules.messages.rules]]
action = "allow"
"""
_GRPC_MESSAGES = f"""\
[[rules.messages.rules]]
action = "deny"
reason = "benchmark"
text = ["*{DENIED}*"]

[[rules.messages.rules]]
action = "allow"
"""
# Also in the response for a message, where it has no effect.
_ALL_MESSAGES = '"messages": true'


@dataclass(frozen=True)
class Row:
    """One line of a table.

    @ivar table: its table, by the unit.
    @ivar traffic: opens the connections of a client.
    @ivar policy: the rules of the proxy, after the rule for tunnels.
    @ivar service: further members of the responses of an authorization service, which then decides.
    @ivar asks: the number of authorization requests for each unit.
    @ivar denies: whether the proxy denies forbidden content.
    @ivar options: further options of the proxy.
    @ivar types: whether the proxy knows the types of gRPC messages.
    @ivar peer: another proxy.
    """

    table: str
    title: str
    traffic: Callable[[Ends], Traffic]
    policy: str = _RULE
    service: str | None = None
    asks: int = 0
    denies: bool = False
    options: tuple[str, ...] = ()
    types: bool = False
    peer: Peer | None = None


def _websockets(**how: bool | int) -> Callable[[Ends], Traffic]:
    return partial(WebSockets, connections=CONNECTIONS, **how)  # type: ignore[arg-type]


REQUESTS = partial(Requests, connections=CONNECTIONS)
EVENTS = partial(Events, connections=CONNECTIONS)
MITMPROXY = Mitmproxy()
_INSPECTED = _RULE + _MESSAGES
# The origin supports HTTP/2, and serves only gRPC with it.
_HTTP1 = ("--http2", "off")
_GRPC, _WEBSOCKET, _BULK, _EVENT = "gRPC call", "WebSocket message", "WebSocket message of 64 KiB", "Event"
ROWS = (
    Row(_GRPC, "HTTP/1.1 request with the same content", REQUESTS, options=_HTTP1),
    Row(_GRPC, "rule for service and method", GrpcCalls, _RULE + _CALL % ""),
    Row(
        _GRPC, "the same, one call at a time", partial(GrpcCalls, connections=CONNECTIONS, calls=1), _RULE + _CALL % ""
    ),
    Row(_GRPC, "rule for a field", GrpcCalls, _RULE + _CALL % _FIELD, denies=True, types=True),
    Row(_GRPC, "rules for messages", GrpcCalls, _RULE + _GRPC_MESSAGES, denies=True),
    Row(_GRPC, "authorization request for the call", GrpcCalls, service="", asks=1, options=("--authz-body", "never")),
    Row(_GRPC, "authorization requests for the call and its message", GrpcCalls, service="", asks=2, denies=True),
    Row(_GRPC, "mitmproxy", GrpcCalls, peer=MITMPROXY),
    Row(_WEBSOCKET, "untouched", _websockets()),
    Row(_WEBSOCKET, "rules for messages", _websockets(), _INSPECTED, denies=True),
    Row(_WEBSOCKET, "rules for messages, compressed", _websockets(deflate=True), _INSPECTED, denies=True),
    Row(
        _WEBSOCKET, "authorization request for each message", _websockets(), service=_ALL_MESSAGES, asks=2, denies=True
    ),
    Row(_WEBSOCKET, "untouched, client uses HTTP/2", _websockets(http2=True)),
    Row(_WEBSOCKET, "rules for messages, client uses HTTP/2", _websockets(http2=True), _INSPECTED, denies=True),
    Row(_WEBSOCKET, "mitmproxy", _websockets(), peer=MITMPROXY),
    Row(_BULK, "untouched", _websockets(size=BULK, binary=True)),
    Row(_BULK, "rules for messages", _websockets(size=BULK, binary=True), _INSPECTED, denies=True),
    Row(_BULK, "mitmproxy", _websockets(size=BULK, binary=True), peer=MITMPROXY),
    Row(_EVENT, "untouched", EVENTS, options=_HTTP1),
    Row(_EVENT, "rules for messages", EVENTS, _INSPECTED, options=_HTTP1),
    Row(_EVENT, "authorization request for each event", EVENTS, service=_ALL_MESSAGES, asks=1, options=_HTTP1),
)


def types() -> bytes:
    """Return the types of the messages of the service, as C{protoc --descriptor_set_out} does."""
    field_type = descriptor_pb2.FieldDescriptorProto
    text = field_type(name="text", number=1, type=field_type.TYPE_STRING, label=field_type.LABEL_OPTIONAL)
    package, _, service = SERVICE.rpartition(".")
    message = f".{package}.Message"
    method = descriptor_pb2.MethodDescriptorProto(name=METHOD, input_type=message, output_type=message)
    file = descriptor_pb2.FileDescriptorProto(
        name="bench.proto",
        package=package,
        syntax="proto3",
        message_type=[descriptor_pb2.DescriptorProto(name="Message", field=[text])],
        service=[descriptor_pb2.ServiceDescriptorProto(name=service, method=[method])],
    )
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


# -- the programs


@dataclass(frozen=True)
class _Variant:
    """A source tree of this proxy, and how to measure it.

    @ivar program: the command that runs a plugin of twist.
    """

    title: str
    tree: Path
    meter: Callable[[int], Meter]
    program: Sequence[str] = TWIST


def _start(row: Row, variant: _Variant, setup: Setup) -> Started:
    """Start a proxy of this project."""
    command = [*variant.program, "egressproxy", "--listen", f"tcp:{setup.port}:interface=127.0.0.1"]
    command += ["--ca-dir", str(setup.directory / "ca"), "--ssl-extra-ca-certs", str(setup.origin_ca)]
    command += ["--allow-address", "127.0.0.0/8", "--allow-address", "::1/128", *row.options]
    if setup.authz_url is None:
        policy = setup.directory / "policy.toml"
        policy.write_text(TUNNELS + row.policy, encoding="utf-8")
        command += ["--policy", str(policy)]
    else:
        command += ["--authz-url", setup.authz_url]
    if row.types:
        path = setup.directory / "types.binpb"
        path.write_bytes(types())
        command += ["--grpc-descriptors", str(path)]
    ca = setup.directory / "ca" / "ca.pem"
    return launch(setup, command, ca=ca, environment={"PYTHONPATH": str(variant.tree)})


# -- a measurement


@dataclass
class Running:
    """A proxy of one row.

    @ivar port: the port of the proxy.
    @ivar figures: the figure of the meter for a unit, in each round.
    """

    row: Row
    title: str
    port: int
    ca: Path | None
    meter: Meter
    target: MessageOrigin
    asked: Callable[[], int]
    figures: list[float] = field(default_factory=list)

    @property
    def origin(self) -> int:
        """The port of the origin."""
        return self.target.tls

    @property
    def plain(self) -> int:
        """The port of the origin without TLS."""
        return self.target.plain

    def measure(self, units: int) -> None:
        """Send units over new connections, and check the responses.

        @raise Unproven: if the proxy did not do its work.
        """
        try:
            traffic = self.row.traffic(self)
            try:
                self._measure(traffic, units)
            finally:
                traffic.close()
        except (Unproven, OSError) as error:
            raise Unproven(f"{self.row.table}, {self.title}: {error}") from error

    def _measure(self, traffic: Traffic, units: int) -> None:
        if not self.figures and traffic.is_denied() is not self.row.denies:
            raise Unproven("the denial of forbidden content is not as expected")
        traffic.send(units // 4)
        received, asked = self.target.count(), self.asked()
        self.meter.start()
        done = traffic.send(units)
        self.figures.append(self.meter.stop() / done)
        received, asked = self.target.count() - received, self.asked() - asked
        if (received, asked) != (done, done * self.row.asks):
            raise Unproven(f"{done} units, {received} at the origin, {asked} authorization requests")


@contextmanager
def running(bench: Bench, target: MessageOrigin, row: Row, variant: _Variant) -> Iterator[Running]:
    """Run the proxy of a row during the block."""
    directory = Path(tempfile.mkdtemp(dir=bench.directory))
    with ExitStack() as stack:
        url: str | None = None
        asked: Callable[[], int] = int
        if row.service is not None:
            service = stack.enter_context(authorization_service(bench.programs, row.service))
            url, asked = f"http://127.0.0.1:{service.port}", service.count
        setup = Setup(directory, free_port(), bench.origins.ca, url, bench.programs, {"http2": "true"})
        with pinned(bench.cores.for_proxy(1)):
            started = _start(row, variant, setup) if row.peer is None else row.peer.start(setup, intercept=True)
        stack.callback(started.stop)
        title = f"{row.title}{variant.title}"
        yield Running(row, title, setup.port, started.ca, variant.meter(started.process.pid), target, asked)


def groups(chosen: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Return the rows of each table."""
    found: dict[str, list[Row]] = {}
    for row in chosen:
        found.setdefault(row.table, []).append(row)
    return found


def run(bench: Bench, options: argparse.Namespace) -> None:
    """Measure, and print the tables."""
    meter: Callable[[int], Meter] = CpuTime
    program: Sequence[str] = TWIST
    if options.instructions:
        files = bench.directory / "callgrind"
        files.mkdir()
        meter = partial(Instructions, files)
        program = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")
        program += (f"--callgrind-out-file={files}/callgrind.%p", *TWIST)
    now = _Variant("", TREE, meter, program)
    variants = [now]
    if options.against is not None:
        variants = [_Variant(", before", options.against.resolve(), meter, program), now]
    with message_origin(bench.directory / "origins") as target:
        for table, group in groups(options.chosen).items():
            _table(bench, options, target, table, [(row, one) for row in group for one in variants])


def _table(
    bench: Bench,
    options: argparse.Namespace,
    target: MessageOrigin,
    title: str,
    contestants: Sequence[tuple[Row, _Variant]],
) -> None:
    with ExitStack() as stack:
        all_of_them = [stack.enter_context(running(bench, target, row, variant)) for row, variant in contestants]
        for number in range(options.rounds + 1):
            for one in all_of_them if number % 2 else reversed(all_of_them):
                one.measure(options.units)
        unit = "Instructions" if options.instructions else "CPU, µs"
        print(f"| {title} | {unit} | Relative to the first row | Range over the rounds |")
        print("| --- | ---: | ---: | ---: |")
        # The first round is the warm-up.
        print("\n".join(rows([(one.title, one.figures[1:]) for one in all_of_them])), flush=True)
        print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.messages", description=__doc__)
    parser.add_argument("--units", type=int, default=2000, metavar="N", help="units in a round (2000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(5)")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="ROW", help="only rows whose text matches, with *")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another source tree")
    parser.add_argument("--instructions", action="store_true", help="count instructions, only of this proxy")
    options = parser.parse_args(arguments)
    options.chosen = [
        row
        for row in ROWS
        if any(fnmatchcase(f"{row.table}: {row.title}", pattern) for pattern in options.only)
        and (row.peer is None or (row.peer.missing() is None and not options.instructions))
    ]
    missing = []
    if options.instructions and not shutil.which("vgdb"):
        missing.append("valgrind: apt-get install valgrind")
    return run_command(partial(run, options=options), missing)


if __name__ == "__main__":
    sys.exit(main())
