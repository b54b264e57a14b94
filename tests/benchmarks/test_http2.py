"""Tests for L{benchmarks.http2}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.http2 import ROWS
from benchmarks.native import LoadFailed
from benchmarks.protocol_loads import responses_in, result_of

OUTPUT = """\
finished in 22.03ms, 9079.76 req/s, 1.05MB/s
requests: 200 total, 200 started, 200 done, {succeeded} succeeded, 0 failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 4 4xx, 0 5xx
"""


class ResponsesTests(SynchronousTestCase):
    """Only good responses count."""

    def test_responses(self) -> None:
        self.assertEqual(responses_in(OUTPUT.format(succeeded=200, good=196)), 196)
        self.assertEqual(responses_in(OUTPUT.format(succeeded=190, good=196)), 190)

    def test_an_error(self) -> None:
        self.assertIsNone(responses_in("could not connect to host"))


class RowTests(SynchronousTestCase):
    """The rows."""

    def test_the_first_row(self) -> None:
        """The others are compared with HTTP/1.1 through this proxy."""
        self.assertEqual((ROWS[0].peer.name, ROWS[0].version), ("egressproxy", "--h1"))
        self.assertEqual(len({row.title for row in ROWS}), len(ROWS))


class ResultTests(SynchronousTestCase):
    """The result of h2load, as the main benchmark reads it."""

    LOG = "1 200 1500\n2 200 500\n3 -1 9\n"
    SAID = OUTPUT.format(succeeded=2, good=2) + "traffic: 1.05MB (110) total, 9B (9) headers (x 5%), 20B (20) data\n"

    def test_result(self) -> None:
        found = result_of(self.SAID, self.LOG, 3, 10)
        self.assertEqual((found.units, found.errors, found.wrong, found.bytes), (2, 1, 0, 20))
        self.assertEqual((found.seconds, found.p50_us, found.p99_us), (0.02203, 500.0, 500.0))

    def test_wrong_content(self) -> None:
        found = result_of(self.SAID, self.LOG, 3, 11)
        self.assertEqual((found.wrong, found.first_error), (1, "20 bytes of content in 2 responses"))

    def test_no_result(self) -> None:
        self.assertRaises(LoadFailed, result_of, "could not connect to host", "", 3, 10)
