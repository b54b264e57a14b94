"""Large transfers on 100 streams of one HTTP/2 connection.  C{python -m benchmarks.http2_bulk} transfers 1 GiB."""

from __future__ import annotations

from benchmarks.bulk_client import KIB, MIB
from benchmarks.http2_bulk import MAX_GROWTH, SLOW_SIZE, BulkConnection, memory, origin, reset_peak
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy
from tests.integration.processes import program

STREAMS = 98
SIZE = 32 * MIB // STREAMS


class BulkTests(IntegrationTestCase):
    """To an origin that sends content back."""

    forked = False

    def start(self, version: str) -> tuple[Proxy, int]:
        """Start a proxy and an origin, and send a request on each stream.

        @param version: the version of HTTP of the origin.
        @return: the proxy, and the port of the origin.
        """
        entered = origin(self.directory, version)
        port, ca = entered.__enter__()
        self.addCleanup(entered.__exit__, None, None, None)
        proxy = self.start_proxy(*self.allow_all(), "--ssl-extra-ca-certs", str(ca), *ONE_PROCESS)
        warm = BulkConnection(proxy.port, proxy.ca, port)
        warm.transfer(STREAMS, 16 * KIB, slow=0, seconds=30)
        warm.close()
        return proxy, port

    def transfer(self, version: str, slow: int) -> None:
        """Transfer 32 MiB in each direction, and check the memory and the records.

        @param version: the version of HTTP of the origin.
        @param slow: the number of slow streams.
        """
        proxy, port = self.start(version)
        before = memory(proxy.pid, "VmRSS")
        reset_peak(proxy.pid)
        connection = BulkConnection(proxy.port, proxy.ca, port)
        figures = connection.transfer(STREAMS, SIZE, slow=slow, seconds=60)
        self.assertLess(memory(proxy.pid, "VmHWM") - before, MAX_GROWTH)
        # The others were faster than the slow stream, which received all that it could.
        self.assertLess(figures.slowly, SLOW_SIZE)
        self.assertLessEqual(figures.slowly, figures.credit)
        self.assertGreaterEqual(figures.slowly, figures.credit - KIB)
        connection.close()
        records = self.records(proxy, 2 * STREAMS + slow)
        sizes = [(record["bytesSent"], record["bytesReceived"]) for record in records]
        self.assertEqual(sizes.count((SIZE, SIZE)), STREAMS)
        self.assertEqual(sizes.count((SLOW_SIZE, SLOW_SIZE)), 1)

    def test_an_origin_with_http1(self) -> None:
        self.transfer("h1", 2)

    def test_an_origin_with_http2(self) -> None:
        """All streams share one connection to the origin."""
        program("nghttpd")
        self.transfer("h2", 1)

    def test_memory(self) -> None:
        """A client that does not read 98 responses of 512 KiB costs less memory than they have."""
        program("nghttpd")
        proxy, port = self.start("h2")
        before = memory(proxy.pid, "VmRSS")
        reset_peak(proxy.pid)
        connection = BulkConnection(proxy.port, proxy.ca, port)
        held = connection.hold(STREAMS, 512 * KIB, seconds=60)
        self.assertEqual({(one.left, one.received) for one in held}, {(0, KIB)})
        self.assertLess(memory(proxy.pid, "VmHWM") - before, MAX_GROWTH)
        connection.release(held, seconds=60)
        connection.close()
