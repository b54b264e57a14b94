"""Large transfers on many streams of one HTTP/2 connection: C{python -m benchmarks.http2_bulk}.

All streams send content through the proxy to an origin that sends it back, at the same time.  The client compares every
byte.  Slow streams must not delay the others: the client reads one of them at 1 KiB in a second, and an origin with
HTTP/1.1 does so with another one.  The figures are the duration, the CPU time of the proxy, and the growth of its
memory, which is the peak of its resident set.
"""

from __future__ import annotations

import argparse
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bulk_client import KIB, MIB, BulkClient, BulkError, Transfer
from benchmarks.measure import cpu_seconds
from benchmarks.origins import free_port, wait_for_port
from benchmarks.peers import Setup
from benchmarks.peers.ours import Ours
from tests.certificates import TestCA

# A name for which the proxy of the benchmarks intercepts TLS.
HOST: Final = "localhost"
WINDOW: Final = 256 * KIB
SLOW_SIZE: Final = 256 * KIB
STREAMS: Final = 100
# The maximum growth of the memory of the proxy.
MAX_GROWTH: Final = 32 * MIB
_READ: Final = 256 * KIB
# Nothing moves any more after this time without progress.
_QUIET: Final = 1.0


@dataclass(frozen=True)
class Figures:
    """The figures of one run.

    @ivar seconds: the duration of the transfers, without the slow one.
    @ivar slowly: the size of the content that the stream with a slow client had received by then.
    @ivar credit: the size that it could have received.
    """

    seconds: float
    slowly: int
    credit: int


class BulkConnection:
    """A connection of a L{BulkClient} through a tunnel.

    @param proxy: the port of the proxy on 127.0.0.1.
    @param ca: the CA of the proxy.
    @param origin: the port of the origin.
    """

    def __init__(self, proxy: int, ca: Path, origin: int) -> None:
        authority = f"{HOST}:{origin}"
        plain = socket.create_connection(("127.0.0.1", proxy), 30)
        plain.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = plain.recv(1)
            if not byte:
                raise BulkError(f"the proxy does not open a tunnel: {head!r}")
            head += byte
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        self._stream = context.wrap_socket(plain, server_hostname=HOST)
        self._stream.setblocking(False)
        self.client = BulkClient(authority)
        self._unsent = memoryview(b"")

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def transfer(self, streams: int, size: int, *, slow: int, seconds: float) -> Figures:
        """Transfer content in both directions, and check all of it.

        @param streams: the number of streams.
        @param size: the size of the content of each.
        @param slow: the number of further streams that are slow: the first in the client, the second in the origin.
        @param seconds: the timeout.
        @raise BulkError: if a transfer fails.
        """
        begin = time.monotonic()
        slow_client = self.client.start("/echo", SLOW_SIZE, None) if slow else None
        slow_origin = self.client.start("/slow", SLOW_SIZE, WINDOW) if slow > 1 else None
        fast = [self.client.start("/echo", size, WINDOW) for _ in range(streams)]
        credit = KIB
        while not all(one.done for one in fast):
            now = time.monotonic() - begin
            if now > seconds:
                raise BulkError(f"{sum(not one.done for one in fast)} transfers are not complete in {seconds:g} s")
            if slow_client is not None and now * KIB > credit:
                credit += KIB
                self.client.credit(slow_client, KIB)
            self._turn(0.2)
        took = time.monotonic() - begin
        if slow_origin is not None and slow_origin.received > (took + 1) * KIB:
            raise BulkError(f"the slow origin sent {slow_origin.received} bytes")
        if slow_client is None:
            return Figures(took, 0, 0)
        figures = Figures(took, slow_client.received, credit)
        self.client.credit(slow_client, SLOW_SIZE)
        self._finish(slow_client, begin + seconds)
        return figures

    def hold(self, streams: int, size: int, seconds: float) -> list[Transfer]:
        """Send content, and read no more than 1 KiB of each response, until nothing moves any more.

        @return: the transfers; see L{release}.
        @raise BulkError: if there is no end.
        """
        transfers = [self.client.start("/echo", size, None) for _ in range(streams)]
        begin = moved = time.monotonic()
        progress = (0, 0)
        while (now := time.monotonic()) < moved + _QUIET:
            if now > begin + seconds:
                raise BulkError(f"the transfers continue after {seconds:g} s")
            self._turn(0.2)
            before, progress = progress, (sum(one.left for one in transfers), sum(one.received for one in transfers))
            if progress != before:
                moved = time.monotonic()
        return transfers

    def release(self, transfers: Sequence[Transfer], seconds: float) -> None:
        """Read the responses to their ends.

        @raise BulkError: if one is not complete or not as expected.
        """
        deadline = time.monotonic() + seconds
        for one in transfers:
            self.client.credit(one, one.size)
        for one in transfers:
            self._finish(one, deadline)

    def _finish(self, slow: Transfer, deadline: float) -> None:
        """Read the rest of a slow stream, for which there is credit."""
        while not slow.done:
            if time.monotonic() > deadline:
                raise BulkError(f"the slow stream received {slow.received} of {slow.size} bytes")
            self._turn(0.2)

    def _turn(self, timeout: float) -> None:
        """Send and receive as much as possible, or wait."""
        moved = self._send()
        try:
            data = self._stream.recv(_READ)
        except ssl.SSLWantReadError:
            if not moved:
                select.select([self._stream], [self._stream] if self._unsent else [], [], timeout)
            return
        if not data:
            raise BulkError("the proxy closed the connection")
        self.client.receive(data)

    def _send(self) -> bool:
        if not self._unsent:
            self._unsent = memoryview(self.client.take_output())
        if not self._unsent:
            return False
        try:
            sent = self._stream.send(self._unsent)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        self._unsent = self._unsent[sent:]
        return True


def memory(pid: int, name: str) -> int:
    """Return C{VmRSS} or C{VmHWM} of a process, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found is not None
    return KIB * int(found[1])


def reset_peak(pid: int) -> None:
    """Set C{VmHWM} of a process to C{VmRSS}; see proc(5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


@contextmanager
def origin(directory: Path, version: str) -> Iterator[tuple[int, Path]]:
    """Run an origin that sends content back.

    @param version: C{"h1"} or C{"h2"}.
    @return: its port, and its CA.
    """
    ca = TestCA("Benchmark origins")
    ca.issue(HOST).write(directory, "origin")
    certificate, key = str(directory / "origin.pem"), str(directory / "origin-key.pem")
    port = free_port()
    if version == "h2":
        windows = ("--window-bits=20", "--connection-window-bits=26", "--encoder-header-table-size=4096")
        command = ["nghttpd", "--echo-upload", *windows, str(port), key, certificate]
    else:
        command = [sys.executable, "-m", "benchmarks.echo_origin", str(port), certificate, key]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        wait_for_port(port, process, command[0])
        yield port, ca.write(directory, "origins-ca")
    finally:
        process.terminate()
        process.wait(10)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row of a table for each version of the origin; return the exit status."""
    status = 0
    print("| Origin | Streams | Each direction | Duration | CPU time | Memory growth | Received on the slow stream |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for version in options.origins:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="egressproxy-benchmark-")))
            port, ca = stack.enter_context(origin(directory, version))
            started = Ours().start(Setup(directory, free_port(), ca, None, directory), intercept=True)
            stack.callback(started.stop)
            assert started.ca is not None
            proxy, pid = int(_port_of(started.process.args)), started.process.pid
            warm = BulkConnection(proxy, started.ca, port)
            warm.transfer(options.streams, 16 * KIB, slow=0, seconds=60)
            warm.close()
            before, used = memory(pid, "VmRSS"), cpu_seconds(pid)
            reset_peak(pid)
            connection = BulkConnection(proxy, started.ca, port)
            slow = 2 if version == "h1" else 1
            streams = options.streams - slow
            size = options.mib * MIB // streams
            figures = connection.transfer(streams, size, slow=slow, seconds=options.timeout)
            growth = memory(pid, "VmHWM") - before
            connection.close()
            status |= growth > MAX_GROWTH
            print(
                f"| {version} | {options.streams} | {size * streams / MIB:.0f} MiB | {figures.seconds:.1f} s |"
                f" {cpu_seconds(pid) - used:.1f} s | {growth / MIB:.1f} MiB |"
                f" {figures.slowly} of {figures.credit} bytes |",
                flush=True,
            )
    return status


def _port_of(command: object) -> str:
    found = re.search(r"tcp:(\d+):", " ".join(map(str, command if isinstance(command, Sequence) else ())))
    assert found is not None
    return found[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    @return: the exit status: 1 if the memory grew too much, or a transfer failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2_bulk", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, metavar="N", help="MiB in each direction (1024)")
    parser.add_argument("--streams", type=int, default=STREAMS, metavar="N", help=f"({STREAMS})")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS", help="(900)")
    parser.add_argument("--origins", nargs="+", choices=("h1", "h2"), default=["h1", "h2"], help="(both)")
    options = parser.parse_args(arguments)
    if "h2" in options.origins and shutil.which("nghttpd") is None:
        print("missing: nghttpd: apt-get install nghttp2-server", file=sys.stderr)
        return 2
    try:
        return run(options)
    except BulkError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
