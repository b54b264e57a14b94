"""Passthrough tunnels with large transfers: every byte, each end, on each reactor, spliced and buffered."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.base import Proxy
from tests.integration.processes import connections_to
from tests.integration.raw_origin import PATIENCE, SWITCH, UPGRADE, RawOrigin, RawOriginTestCase, Wire, client_of

MIB = 1 << 20
# More than sockets and pipes hold, and not a multiple of any buffer size.
SIZE = 24 * MIB + 12_345
BLOCK = random.Random(3).randbytes(MIB + 7)
# More than sockets can hold with any tuning of the kernel.
OFFERED = 128 * MIB

NO_SPLICE = "import os; vars(os).pop('splice', None)"
IMPATIENT = """
import attrs
from egress import service
def short(self, reactor, config, begin=service.EgressProxyService.__init__, **more):
    limits = attrs.evolve(config.limits, tunnel_timeout=1.5, drain_timeout=1.0)
    begin(self, reactor, attrs.evolve(config, limits=limits), **more)
service.EgressProxyService.__init__ = short
"""


def content(size: int) -> bytes:
    """Return this many bytes, in which lost or reordered bytes are detectable."""
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


def digest(data: bytes) -> str:
    """Return a checksum."""
    return hashlib.sha256(data).hexdigest()


def sending(wire: Wire, data: bytes) -> threading.Thread:
    """Send data and then the end of the stream, in a thread."""

    def send() -> None:
        try:
            wire.socket.sendall(data)
            wire.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the received data is compared

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def repeat(wire: Wire) -> None:
    """Send back all data."""
    for data in wire.pieces():
        wire.send(data)


class _Cases:
    """A namespace, so that trial does not run the base class."""

    class AnyRelay(RawOriginTestCase):
        """One kind of relay.

        @cvar first: Python code that the proxy runs before anything else.
        @cvar reactor: the name of its reactor.
        """

        first = ""
        reactor = ""

        def setUp(self) -> None:
            super().setUp()
            self.seen: dict[str, Any] = {}
            self.done = threading.Event()

        def proxy(self, *options: str, first: str = "") -> Proxy:
            """Start a proxy with passthrough for 127.0.0.1."""
            first = "\n".join(filter(None, (self.first, first)))
            return self.start_proxy(
                "--passthrough", "127.0.0.1", *self.allow_all(), *options, first=first, reactor=self.reactor
            )

        def origin(self, script: Callable[[Wire], None]) -> RawOrigin:
            """Start an origin, and record when it has finished with a connection."""

            def run(_: RawOrigin, wire: Wire) -> None:
                try:
                    script(wire)
                finally:
                    self.done.set()

            return self.start_origin(run)

        def tunnel(self, proxy: Proxy, origin: RawOrigin) -> Wire:
            """Open a tunnel."""
            return self.connect(proxy, origin.authority)

        def open_files(self, proxy: Proxy) -> list[str]:
            """Return the targets of the open descriptors of a proxy, in all its processes."""
            found = []
            for pid in proxy.pids:
                for path in Path(f"/proc/{pid}/fd").iterdir():
                    with contextlib.suppress(FileNotFoundError):
                        found.append(os.readlink(path))
            return found

        def sockets(self, proxy: Proxy) -> int:
            """Return the number of sockets of a proxy."""
            return sum(name.startswith("socket:") for name in self.open_files(proxy))

        def sockets_at_rest(self, proxy: Proxy) -> int:
            """Return the number of sockets without a client, after the connection of the start check has closed."""
            self.wait_until(lambda: not connections_to(proxy.port))
            return self.sockets(proxy)

        def pipes(self, proxy: Proxy) -> int:
            """Return the number of pipes of a proxy."""
            return len({name for name in self.open_files(proxy) if name.startswith("pipe:")})

        def the_record(self, proxy: Proxy) -> dict[str, Any]:
            """Wait for the only audit record, and return it."""
            self.wait_until(lambda: len(proxy.records()) > 0)
            (record,) = proxy.records()
            return record

        def carried(self, proxy: Proxy) -> tuple[int, int]:
            """Return the bytes to the origin and from it in the only audit record."""
            record = self.the_record(proxy)
            self.assertEqual((record["stage"], record["outcome"]), ("tunnel", "forwarded"))
            return record["bytesSent"], record["bytesReceived"]

        def cpu(self, proxy: Proxy) -> float:
            """Return the CPU seconds of a proxy, in all its processes."""
            ticks = 0
            for pid in proxy.pids:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
            return ticks / os.sysconf("SC_CLK_TCK")

        # -- every byte

        def test_both_directions_simultaneously(self) -> None:
            up, down = content(SIZE), content(SIZE + 54_321)[::-1]

            def script(wire: Wire) -> None:
                thread = sending(wire, down)
                self.seen["up"] = digest(wire.read_rest())
                thread.join()

            origin, proxy = self.origin(script), self.proxy()
            client = self.tunnel(proxy, origin)
            sending(client, up)
            self.assertEqual(digest(client.read_rest()), digest(down))
            client.close()
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertEqual(self.seen["up"], digest(up))
            self.assertEqual(self.carried(proxy), (len(up), len(down)))

        def test_the_client_ends_first(self) -> None:
            data = content(SIZE)

            def script(wire: Wire) -> None:
                received = wire.read_rest()
                wire.send(digest(received))
                wire.send(received[::-1])

            origin, proxy = self.origin(script), self.proxy()
            client = self.tunnel(proxy, origin)
            sending(client, data)
            self.assertEqual(client.read(64).decode(), digest(data))
            self.assertEqual(digest(client.read_rest()), digest(data[::-1]))
            client.close()
            self.assertEqual(self.carried(proxy), (SIZE, SIZE + 64))

        def test_the_origin_ends_first(self) -> None:
            data = content(SIZE)

            def script(wire: Wire) -> None:
                sending(wire, data)
                self.seen["up"] = digest(wire.read_rest())

            origin, proxy = self.origin(script), self.proxy()
            client = self.tunnel(proxy, origin)
            received = client.read_rest()
            sending(client, received[::-1]).join()
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertEqual((digest(received), self.seen["up"]), (digest(data), digest(data[::-1])))
            self.assertEqual(client.receive(), b"")
            self.assertEqual(self.carried(proxy), (SIZE, SIZE))

        def test_small_messages_after_large_ones(self) -> None:
            origin, proxy = self.origin(repeat), self.proxy()
            client = self.tunnel(proxy, origin)
            for size in (1, 300, 100_000, 200_000, 1, 5, 70_000, 1):
                client.send(content(size))
                self.assertEqual(client.read(size), content(size))
            client.close()
            self.assertEqual(self.carried(proxy), (370_308, 370_308))

        def test_an_upgraded_connection(self) -> None:
            up, down = content(SIZE), content(SIZE)[::-1]

            def script(wire: Wire) -> None:
                wire.read_until(b"\r\n\r\n")
                wire.send(SWITCH)
                thread = threading.Thread(target=wire.send, args=(down,), daemon=True)
                thread.start()
                self.seen["up"] = digest(wire.read(len(up)))
                thread.join()
                wire.read_to_end()

            origin, proxy = (
                self.origin(script),
                self.start_proxy(*self.allow_all(), first=self.first, reactor=self.reactor),
            )
            asked = f"HTTP/1.1\r\nHost: {origin.authority}\r\n{UPGRADE}"
            for inside in (False, True):
                with self.subTest(inside=inside):
                    self.done.clear()
                    client = client_of(proxy, origin.authority if inside else None)
                    client.send(f"GET {'' if inside else origin.url}/ {asked}")
                    self.assertIn(" 101 ", client.read_message(head_only=True)[0])
                    threading.Thread(target=client.send, args=(up,), daemon=True).start()
                    self.assertEqual(digest(client.read(len(down))), digest(down))
                    self.wait_until(lambda: "up" in self.seen)
                    client.close()
                    self.assertTrue(self.done.wait(PATIENCE))
                    self.assertEqual(self.seen.pop("up"), digest(up))
            self.wait_until(lambda: len(proxy.records()) == 2)
            for record in proxy.records():
                self.assertEqual((record["bytesSent"], record["bytesReceived"]), (SIZE, SIZE))

        # -- backpressure

        def stands_still(self, proxy: Proxy, sent: list[int], reader: Wire) -> None:
            """Check that without a reader no data moves or accumulates and no loop spins; then all data arrives.

            @param sent: the size of each piece that was sent.
            """
            self.wait_until(lambda: len(sent) > 0)
            memory, before = proxy.memory("VmRSS"), -1
            while before != len(sent):
                before = len(sent)
                time.sleep(0.5)
            self.assertLess(sum(sent), OFFERED)
            self.assertLess(proxy.memory("VmRSS") - memory, 8 * MIB)
            spent = self.cpu(proxy)
            time.sleep(0.5)
            self.assertLess(self.cpu(proxy) - spent, 0.1)
            checksum, size = hashlib.sha256(), 0
            # The first of it may have come with the head of the CONNECT response.
            for data in reader.pieces():
                checksum.update(data)
                size += len(data)
            self.assertEqual((size, checksum.hexdigest()), (OFFERED, digest(content(OFFERED))))

        def send_noting(self, wire: Wire, sent: list[int]) -> None:
            """Send continuously, and record how much was sent."""
            data = memoryview(content(OFFERED))
            while data:
                sent.append(wire.socket.send(data[:MIB]))
                data = data[sent[-1] :]
            wire.socket.shutdown(socket.SHUT_WR)

        def test_a_slow_client(self) -> None:
            sent: list[int] = []
            self.forked = False
            origin, proxy = self.origin(lambda wire: self.send_noting(wire, sent)), self.proxy()
            client = self.tunnel(proxy, origin)
            self.stands_still(proxy, sent, client)
            client.close()
            self.assertEqual(self.carried(proxy), (0, OFFERED))

        def test_a_slow_origin(self) -> None:
            sent: list[int] = []
            wires: list[Wire] = []

            def script(wire: Wire) -> None:
                wires.append(wire)
                self.done.wait(3 * PATIENCE)

            self.forked = False
            origin, proxy = self.origin(script), self.proxy()
            client = self.tunnel(proxy, origin)
            thread = threading.Thread(target=self.send_noting, args=(client, sent), daemon=True)
            thread.start()
            self.wait_until(lambda: len(wires) > 0)
            self.stands_still(proxy, sent, wires[0])
            self.done.set()
            client.read_rest()
            self.assertEqual(self.carried(proxy), (OFFERED, 0))

        # -- aborted connections

        def test_a_client_that_disconnects(self) -> None:
            errors: list[OSError] = []

            def script(wire: Wire) -> None:
                try:
                    while True:
                        wire.send(BLOCK)
                except OSError as error:
                    errors.append(error)

            origin, proxy = self.origin(script), self.proxy()
            sockets = self.sockets_at_rest(proxy)
            client = self.tunnel(proxy, origin)
            client.read(4 * MIB)
            client.reset()
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertIsInstance(errors[0], ConnectionError)
            self.assertGreater(self.the_record(proxy)["bytesReceived"], 4 * MIB)
            self.assert_nothing_left(proxy, sockets)

        def test_an_origin_that_disconnects(self) -> None:
            def script(wire: Wire) -> None:
                wire.read(4 * MIB)
                wire.reset()

            origin, proxy = self.origin(script), self.proxy()
            sockets = self.sockets_at_rest(proxy)
            client = self.tunnel(proxy, origin)
            self.assertRaises(ConnectionError, client.send, content(OFFERED))
            self.assertGreaterEqual(self.the_record(proxy)["bytesSent"], 4 * MIB)
            client.close()
            self.assert_nothing_left(proxy, sockets)

        def test_an_aborted_origin_connection_is_not_an_end_of_stream(self) -> None:
            def script(wire: Wire) -> None:
                wire.send(content(4 * MIB))
                wire.read(1)
                wire.reset()

            origin, proxy = self.origin(script), self.proxy()
            client = self.tunnel(proxy, origin)
            client.read(4 * MIB)
            client.send("x")
            self.assertRaises(ConnectionResetError, client.receive)

        def assert_nothing_left(self, proxy: Proxy, before: int) -> None:
            """No connection remains, and no pipe except the cached ones."""
            self.wait_until(lambda: self.sockets(proxy) == before)

        # -- idle tunnels

        def test_an_idle_tunnel(self) -> None:
            origin, proxy = self.origin(repeat), self.proxy()
            sockets, pipes = self.sockets_at_rest(proxy), self.pipes(proxy)
            tunnels = [self.tunnel(proxy, origin) for _ in range(40)]
            for _ in range(3):
                for client in tunnels:
                    sending_thread = threading.Thread(target=client.send, args=(content(100_000),), daemon=True)
                    sending_thread.start()
                    self.assertEqual(client.read(100_000), content(100_000))
            self.assertLessEqual(self.pipes(proxy) - pipes, 4, "those that are kept for all")
            for client in tunnels:
                client.close()
            self.wait_until(lambda: len(proxy.records()) == len(tunnels))
            self.assert_nothing_left(proxy, sockets)
            self.assertEqual({record["bytesSent"] for record in proxy.records()}, {300_000})

        def test_silence(self) -> None:
            def script(wire: Wire) -> None:
                # Longer than the limit, but never idle for that long.
                for _ in range(8):
                    time.sleep(0.3)
                    self.seen["began"] = time.monotonic()
                    wire.send(content(MIB))
                wire.read_to_end()

            origin, proxy = self.origin(script), self.proxy(first=IMPATIENT)
            sockets = self.sockets_at_rest(proxy)
            client = self.tunnel(proxy, origin)
            client.read(8 * MIB)
            self.assertRaises(ConnectionResetError, client.receive)
            # From before the last content: on a busy machine, this process reads it long after the proxy sent it.
            self.assertGreater(time.monotonic() - self.seen["began"], 1)
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertEqual(self.carried(proxy), (0, 8 * MIB))
            self.assert_nothing_left(proxy, sockets)

        def test_the_proxy_is_stopped(self) -> None:
            def script(wire: Wire) -> None:
                while True:
                    wire.send(BLOCK)

            origin, proxy = self.origin(script), self.proxy(first=IMPATIENT)
            client = self.tunnel(proxy, origin)
            client.read(4 * MIB)
            proxy.process.stop()
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertGreaterEqual(self.the_record(proxy)["bytesReceived"], 4 * MIB)

        # -- early data

        def test_early_data_and_data_after_the_connect_response_of_an_upstream_proxy(self) -> None:
            def script(wire: Wire) -> None:
                self.seen["head"] = wire.read_until(b"\r\n\r\n")
                wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + content(50_000))
                sending(wire, content(SIZE)[50_000:])
                self.seen["up"] = digest(wire.read_rest())

            upstream = self.origin(script)
            proxy = self.proxy("--upstream-proxy", upstream.url)
            client = client_of(proxy)
            self.addCleanup(client.close)
            data = content(SIZE)[::-1]
            client.send(b"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n" + data[:150_000])
            head, _ = client.read_message(head_only=True)
            self.assertTrue(head.startswith("HTTP/1.1 200 "))
            sending(client, data[150_000:])
            self.assertEqual(digest(client.read_rest()), digest(content(SIZE)))
            client.close()
            self.assertTrue(self.done.wait(PATIENCE))
            self.assertTrue(self.seen["head"].startswith(b"CONNECT 127.0.0.1:443 "))
            self.assertEqual(self.seen["up"], digest(data))
            self.assertEqual(self.carried(proxy), (SIZE, SIZE))


class EpollTests(_Cases.AnyRelay):
    """Spliced, on the default reactor of Linux."""

    reactor = "epoll"


class BufferTests(_Cases.AnyRelay):
    """Buffered, as where Python or the system does not support splice."""

    first = NO_SPLICE


# The relays are the same in a worker, which has its parent's reactor: with workers, one reactor is enough.
if "EGRESS_TEST_WORKERS" not in os.environ:

    class PollTests(_Cases.AnyRelay):
        """Spliced, on another reactor."""

        reactor = "poll"

    class SelectTests(_Cases.AnyRelay):
        """Spliced, on another reactor."""

        reactor = "select"

    class AsyncioTests(_Cases.AnyRelay):
        """Spliced, in an asyncio application."""

        reactor = "asyncio"
